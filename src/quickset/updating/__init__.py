"""Merge a newer template, or other answers, into a service that its owner has edited."""
