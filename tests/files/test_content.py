import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Account
from files.content import FileStream, Range, blocks, open_file, store
from files.models import FilePart
from files.storage import Missing, storage
from tests.factories import FileFactory


def test_the_parts_of_a_file_are_one_stream(account: Account) -> None:
    file = FileFactory(account, b"one\n", b"two\n", b"three")

    with open_file(file) as stream:
        assert stream.read() == b"one\ntwo\nthree"
    assert file.bytes == 13


def test_a_part_may_be_a_range_of_a_shared_object(account: Account) -> None:
    file = FileFactory(account, b"0123456789", b"abc")
    part = file.parts.get(number=0)
    FilePart.objects.filter(pk=part.pk).update(start=4, bytes=3)
    file.bytes = 6

    assert b"".join(blocks(file)) == b"456abc"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, None, b"abcdefgh"),
        (0, 2, b"ab"),
        (2, 3, b"cde"),
        (3, 3, b"def"),
        (5, 99, b"fgh"),
        (8, None, b""),
        (99, 5, b""),
        (4, 0, b""),
    ],
)
def test_a_range_reaches_over_parts(
    start: int, length: int | None, expected: bytes, account: Account
) -> None:
    file = FileFactory(account, b"abc", b"de", b"fgh")

    assert b"".join(blocks(file, start, length, size=2)) == expected


def test_a_range_opens_no_object_before_it(account: Account) -> None:
    file = FileFactory(account, b"abc", b"def")
    storage().delete(file.parts.get(number=0).blob_id)

    assert b"".join(blocks(file, 3)) == b"def"


def test_a_lost_object_is_missing_at_once(account: Account) -> None:
    file = FileFactory(account)
    storage().delete(file.parts.get().blob_id)

    with pytest.raises(Missing):
        open_file(file)


def test_an_object_that_ends_too_early_is_missing_and_no_short_file() -> None:
    with pytest.raises(Missing), FileStream([Range(store(b"abc").key, 0, 4)]) as stream:
        stream.read()


@given(st.lists(st.binary(max_size=5), max_size=4), st.integers(1, 7))
def test_any_parts_read_in_any_steps_are_their_sum(contents: list[bytes], size: int) -> None:
    ranges = [Range(store(content).key, 0, len(content)) for content in contents]
    found = b""

    with FileStream(ranges) as stream:
        while block := stream.read(size):
            found += block

    assert found == b"".join(contents)
