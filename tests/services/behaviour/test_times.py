"""Creation and change times of records in responses."""

from datetime import datetime

from tests.services.behaviour.variants import where
from tests.services.running import Service, new_reference


@where(lambda variant: variant.layout == "feature")
def test_a_change_answers_the_time_that_is_stored(service: Service) -> None:
    """A new order has one time, and a change returns its own time, which is the stored one."""
    created = service.create_order(new_reference()).json()
    assert created["updated_at"] == created["created_at"]
    path = f"/api/v1/orders/{created['id']}"
    assert service.client.get(path).json() == created

    changed = service.client.patch(path, json={"note": "Soon"}).json()

    assert changed["created_at"] == created["created_at"]
    assert datetime.fromisoformat(changed["updated_at"]) >= datetime.fromisoformat(created["updated_at"])
    assert service.client.get(path).json() == changed
