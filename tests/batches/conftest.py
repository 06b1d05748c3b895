"""Who looks at the list of batches, and whose batches they are."""

import pytest
from django.test import Client

from accounts.models import Account, ExternalUser, Owner
from tests.console.operators import with_permissions


@pytest.fixture
def viewer(db: None) -> Client:
    return with_permissions("batches.view_batch")


@pytest.fixture
def alice(account: Account) -> Owner:
    return Owner(account, ExternalUser.objects.create(account=account, external_id="alice"))
