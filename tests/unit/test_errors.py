"""The tree of errors: what callers and the control socket rely on."""

import inspect

import pytest

from esprit import errors
from esprit.errors import BY_CODE, ConfigInvalid, EspritError, from_wire

CLASSES = sorted(BY_CODE.values(), key=lambda cls: cls.code)


def made(cls: type[EspritError]) -> EspritError:
    return cls("eth1")


def test_every_class_of_the_module_is_in_the_tree() -> None:
    found = {
        cls
        for cls in vars(errors).values()
        if inspect.isclass(cls) and issubclass(cls, Exception) and cls.__module__ == errors.__name__
    }
    assert found == set(BY_CODE.values())


def test_every_class_is_drawn_in_the_docstring() -> None:
    assert errors.__doc__ is not None
    words = set(errors.__doc__.split())
    assert [cls.__name__ for cls in CLASSES if cls.__name__ not in words] == []


def test_codes_are_unique() -> None:
    def below(cls: type[EspritError]) -> list[type[EspritError]]:
        return [cls, *(found for sub in cls.__subclasses__() for found in below(sub))]

    ours = [cls for cls in below(EspritError) if cls.__module__ == errors.__name__]
    assert len({cls.code for cls in ours}) == len(ours)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.code)
def test_every_class_has_a_remedy_and_is_one_line(cls: type[EspritError]) -> None:
    error = made(cls)
    assert error.remedy == cls.remedy_by_default
    assert error.remedy
    assert "\n" not in str(error)
    assert str(error).endswith(f"; {error.remedy}")
    assert cls.exit_code not in (0, 2), "0 is success, 2 is a wrong command line"
    assert 400 <= cls.http_status < 600


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.code)
def test_a_family_shares_its_exit_code_and_no_other_has_it(cls: type[EspritError]) -> None:
    family = cls
    while family.__base__ is not EspritError and family is not EspritError:
        assert family.__base__ is not None
        family = family.__base__
    assert cls.exit_code == family.exit_code
    others = {
        other.exit_code for other in CLASSES if not issubclass(other, family) and other is not cls
    }
    assert family is EspritError or cls.exit_code not in others


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.code)
def test_an_error_comes_over_the_wire_as_it_was(cls: type[EspritError]) -> None:
    error = made(cls)
    again = from_wire(dict(error.to_wire()))
    assert type(again) is cls
    assert str(again) == str(error)
    assert again.to_wire() == error.to_wire()


def test_an_unknown_code_is_still_an_error() -> None:
    error = from_wire({"code": "of-tomorrow", "message": "too new"}, subject="team0")
    assert type(error) is EspritError
    assert str(error).startswith("team0: too new; ")


def test_faults_of_a_file_are_one_line_each() -> None:
    error = ConfigInvalid("team0.toml", lines=("team0.toml: a; b", "team0.toml: c; d"))
    assert str(error) == "team0.toml: a; b\nteam0.toml: c; d"
    again = from_wire(dict(error.to_wire()))
    assert isinstance(again, ConfigInvalid)
    assert again.lines == error.lines
