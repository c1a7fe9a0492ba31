"""quickset: production-grade FastAPI services in one command."""
