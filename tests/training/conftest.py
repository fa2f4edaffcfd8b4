"""The trained toy model and its text, which most of these tests train on."""

import pytest

from clew.subject import Subject
from clew.training.documents import Documents
from tests import toy


@pytest.fixture(scope="module")
def subject() -> Subject:
    return toy.trained_subject()


@pytest.fixture(scope="module")
def documents(subject: Subject) -> Documents:
    return toy.documents_of(subject)
