"""Keys do not show themselves."""

import copy
import pickle

import pytest

from esprit.model import Key

MATERIAL = bytes(range(20))


def test_a_key_prints_as_its_cipher_alone() -> None:
    key = Key(MATERIAL)
    for text in (repr(key), str(key), f"{key}", repr([key])):
        assert MATERIAL.hex() not in text
        assert "aes-128-gcm-16" in text
    assert Key(bytes(36)).cipher == "aes-256-gcm-16"


@pytest.mark.parametrize("length", [0, 16, 19, 21, 24, 32, 35, 37])
def test_another_length_is_refused_without_showing_it(length: int) -> None:
    with pytest.raises(ValueError, match=f"^{length} bytes are no key") as caught:
        Key(b"\xab" * length)
    assert "abab" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [MATERIAL.hex(), "0x" + MATERIAL.hex(), MATERIAL.hex(":"), MATERIAL.hex().upper() + "\n"],
)
def test_hexadecimal_is_read_in_its_usual_forms(text: str) -> None:
    assert Key.from_hex(text).reveal() == MATERIAL


def test_what_is_not_hexadecimal_is_not_quoted() -> None:
    with pytest.raises(ValueError, match=r"^is not hexadecimal$") as caught:
        Key.from_hex("deadbeef" * 4 + "xyz")
    assert caught.value.__suppress_context__


def test_equal_is_who_has_the_same_key_and_salt() -> None:
    key, same = Key(MATERIAL), Key.from_hex(MATERIAL.hex())
    other_salt = Key(MATERIAL[:-1] + b"\xff")
    assert key == same
    assert hash(key) == hash(same)
    assert key != other_salt
    assert key != MATERIAL
    same.wipe()
    assert key == same, "a wiped key is still known to be the same"


def test_a_wiped_key_is_gone() -> None:
    key = Key(MATERIAL)
    key.wipe()
    with pytest.raises(ValueError, match="wiped"):
        key.reveal()


def test_an_all_zero_key_is_a_key() -> None:
    assert Key(bytes(20)).reveal() == bytes(20)


def test_a_key_is_not_pickled_or_copied() -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Key(MATERIAL))
    with pytest.raises(TypeError, match="not pickled"):
        copy.copy(Key(MATERIAL))
