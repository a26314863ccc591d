# ruff: noqa: N818 - a name ends in "Error" only where that makes it clearer
"""Every exception that Esprit raises on purpose, as one tree.

::

    EspritError
    ├── ConfigError                  the operator's file
    │   ├── ConfigUnreadable         it cannot be read
    │   ├── ConfigSyntax             it is no TOML
    │   └── ConfigInvalid            keys or values are wrong; one line each
    ├── InterfaceError               an interface cannot be a member as it is
    │   ├── InterfaceMissing         there is none of that name
    │   ├── InterfaceEnslaved        it belongs to another master
    │   ├── InterfaceHasAddresses    it has addresses of its own
    │   ├── InterfaceCarriesDefaultRoute  it carries the default route
    │   ├── InterfaceCarriesSession  it carries the caller's own session
    │   └── InterfaceUnfit           of a kind that no team takes
    ├── PrivilegeError               the caller may not do that
    ├── KeyMaterialError             a key is wrong
    │   ├── KeyLengthError           of the wrong length, or no key at all
    │   ├── KeyExposed               others can read it
    │   └── KeyInUse                 key and salt serve another SA
    ├── SaError                      a security association is wrong
    │   └── SpiInUse                 its SPI (and destination) serve another
    ├── PolicyError                  a line of the SPD is wrong
    ├── EngineError                  an engine cannot be used
    │   ├── EngineRefused            it failed its test
    │   └── NoVerifiedEngine         protection is demanded, nobody can give it
    ├── NotRunning                   no process serves that team
    ├── AlreadyRunning               another process serves it
    ├── NotFound                     no object of that name
    ├── Conflict                     the change contradicts what is there
    ├── BadRequest                   a request to the control socket makes no sense
    ├── ApplyFailed                  a change did not go in, and was undone
    │   └── RollbackFailed           ... and could not be undone
    ├── SystemLacks                  a program, module or kernel feature is missing
    │   ├── NetfilterRefused         nftables did not do what it must
    │   └── ExtensionUnusable        esprit._native is not built, or of another version
    ├── StateUnusable                our own files cannot be read or written
    └── DataPlaneError               the data plane said no
        ├── PortGone                 an interface vanished under us
        └── TaskFailed               no engine did what an application asked for

An error is one line: the subject, what is wrong with it, and the remedy. Callers branch on
the class or, over the wire, on ``code``; texts are for people and may change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypedDict


class ErrorResource(TypedDict):
    """An error as the control socket's JSON answer has it."""

    code: str
    subject: str
    message: str
    remedy: str
    exit_code: int


class EspritError(Exception):
    """Base of all errors that Esprit raises on purpose.

    Args:
        subject: The object that is at fault, as its user calls it.
        message: What is wrong with it. The class's own words if empty.
        remedy: What the user can do. The class's own words if None.

    Attributes:
        code: Stable name of the class, unique in the tree; goes over the wire.
        exit_code: What a command ends with. One number per family, from 3 on.
        http_status: What the control socket answers.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    message_by_default: ClassVar[str] = "failed"
    remedy_by_default: ClassVar[str] = "see the log of the Esprit process"

    subject: str
    message: str
    remedy: str

    def __init__(self, subject: str, message: str = "", *, remedy: str | None = None) -> None:
        self.subject = subject
        self.message = message or self.message_by_default
        self.remedy = self.remedy_by_default if remedy is None else remedy
        super().__init__(subject, self.message)

    def __str__(self) -> str:
        return f"{self.subject}: {self.message}; {self.remedy}"

    def to_wire(self) -> ErrorResource:
        """The error as the control socket's JSON answer has it."""
        return {
            "code": self.code,
            "subject": self.subject,
            "message": self.message,
            "remedy": self.remedy,
            "exit_code": self.exit_code,
        }


class ConfigError(EspritError):
    """The operator's file is at fault."""

    code = "config"
    exit_code = 3
    http_status = 422
    message_by_default = "cannot be used as configuration"
    remedy_by_default = "correct the file"


class ConfigUnreadable(ConfigError):
    """The file is not there or cannot be read."""

    code = "config-unreadable"
    message_by_default = "cannot be read"
    remedy_by_default = "check the path and its permissions"


class ConfigSyntax(ConfigError):
    """The file is no TOML."""

    code = "config-syntax"
    message_by_default = "is no TOML"
    remedy_by_default = "correct that line"


class ConfigInvalid(ConfigError):
    """Keys or values are wrong. All faults are told at once, one line each.

    Args:
        subject: The file.
        message: The first fault, or empty when ``lines`` are given.
        remedy: Its remedy.
        lines: One complete line per fault, each with file, key, fault and remedy.
    """

    code = "config-invalid"
    message_by_default = "has faults"
    remedy_by_default = "correct what each line names"

    lines: tuple[str, ...]

    def __init__(
        self,
        subject: str,
        message: str = "",
        *,
        remedy: str | None = None,
        lines: tuple[str, ...] = (),
    ) -> None:
        if lines and not message:
            message = "has a fault" if len(lines) == 1 else f"has {len(lines)} faults"
        super().__init__(subject, message, remedy=remedy)
        self.lines = lines or (EspritError.__str__(self),)

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def to_wire(self) -> ErrorResource:
        """As for every error; ``message`` has all lines."""
        resource = super().to_wire()
        resource["message"] = "\n".join(self.lines)
        return resource


class InterfaceError(EspritError):
    """An interface cannot be a member as it is."""

    code = "interface"
    exit_code = 4
    http_status = 409
    message_by_default = "cannot be a member"
    remedy_by_default = "choose another interface"


class InterfaceMissing(InterfaceError):
    """There is no interface of that name."""

    code = "interface-missing"
    http_status = 404
    message_by_default = "there is no such interface"
    remedy_by_default = "see `ip link` for the interfaces of this network namespace"


class InterfaceEnslaved(InterfaceError):
    """The interface belongs to a bridge, a bond or another team.

    Args:
        interface: The interface.
        master: What it belongs to.
    """

    code = "interface-enslaved"
    message_by_default = "belongs to another master"
    remedy_by_default = "release it first: ip link set dev <interface> nomaster"

    def __init__(self, interface: str, master: str = "") -> None:
        super().__init__(interface, f"belongs to {master}" if master else "")


class InterfaceHasAddresses(InterfaceError):
    """The interface has addresses of its own, which would go deaf.

    Args:
        interface: The interface.
        address: One of them.
    """

    code = "interface-has-addresses"
    message_by_default = "has addresses of its own"
    remedy_by_default = "remove them first: ip address flush dev <interface>"

    def __init__(self, interface: str, address: str = "") -> None:
        super().__init__(interface, f"has an address of its own, {address}" if address else "")


class InterfaceCarriesDefaultRoute(InterfaceError):
    """The host's default route goes by the interface."""

    code = "interface-default-route"
    message_by_default = "carries the default route"
    remedy_by_default = "move the route first, or say --force"


class InterfaceCarriesSession(InterfaceError):
    """The caller's own session comes in by the interface.

    Args:
        interface: The interface.
        client: Where the session comes from.
    """

    code = "interface-session"
    message_by_default = "carries your own session"
    remedy_by_default = "log in by another interface, or say --force"

    def __init__(self, interface: str, client: str = "") -> None:
        super().__init__(interface, f"carries your own session, from {client}" if client else "")


class InterfaceUnfit(InterfaceError):
    """The interface is of a kind that no team takes."""

    code = "interface-unfit"
    message_by_default = "is not a kind of interface that can be a member"
    remedy_by_default = "choose an Ethernet interface"


class PrivilegeError(EspritError):
    """The caller may not do that."""

    code = "privilege"
    exit_code = 5
    http_status = 403
    message_by_default = "permission denied"
    remedy_by_default = "run as root, or in a user namespace of your own"


class KeyMaterialError(EspritError):
    """A key is wrong. The key itself is never part of the text."""

    code = "key"
    exit_code = 6
    http_status = 422
    message_by_default = "its key cannot be used"
    remedy_by_default = "make another key"


class KeyLengthError(KeyMaterialError):
    """The key has the wrong length, or is not hexadecimal."""

    code = "key-length"
    message_by_default = "its key has the wrong length"
    remedy_by_default = (
        "aes-gcm-16 takes 20 bytes (AES-128) or 36 bytes (AES-256), the last 4 being the salt"
    )


class KeyExposed(KeyMaterialError):
    """A file with keys can be read by others."""

    code = "key-exposed"
    message_by_default = "holds keys, and others can read it"
    remedy_by_default = "chmod 600 it, and replace the keys if anybody may have read them"


class KeyInUse(KeyMaterialError):
    """The same key and salt serve another security association, or the other direction."""

    code = "key-in-use"
    http_status = 409
    message_by_default = "its key and salt are in use by another security association"
    remedy_by_default = "give every security association and direction a key and salt of its own"


class SaError(EspritError):
    """A security association is wrong."""

    code = "sa"
    exit_code = 7
    http_status = 422
    message_by_default = "cannot be used"
    remedy_by_default = "correct the security association"


class SpiInUse(SaError):
    """The SPI serves another security association of that direction."""

    code = "spi-in-use"
    http_status = 409
    message_by_default = "its SPI is in use"
    remedy_by_default = "choose another SPI"


class PolicyError(EspritError):
    """A line of the security policy database is wrong."""

    code = "policy"
    exit_code = 8
    http_status = 422
    message_by_default = "cannot be used"
    remedy_by_default = "correct the policy"


class EngineError(EspritError):
    """An engine cannot be used."""

    code = "engine"
    exit_code = 9
    http_status = 409
    message_by_default = "cannot be used"
    remedy_by_default = "see `esprit engine show`"


class EngineRefused(EngineError):
    """An engine failed its known-answer test and was not admitted.

    Args:
        subject: The engine.
        message: The evidence.
        remedy: What to do.
    """

    code = "engine-refused"
    message_by_default = "failed its known-answer test"
    remedy_by_default = "reset the engine, or leave it out"


class NoVerifiedEngine(EngineError):
    """A policy demands protection and no verified engine can give it."""

    code = "no-verified-engine"
    message_by_default = "a policy demands protection and no verified engine can give it"
    remedy_by_default = 'add an engine that passes its test, or set software = "overflow"'


class NotRunning(EspritError):
    """No process serves that team, or it is not said which.

    Args:
        subject: The team; the running teams if there are several to choose from.
        message: What is wrong.
        remedy: What to do.
        several: More than one team runs, and none was named.
    """

    code = "not-running"
    exit_code = 10
    http_status = 503
    message_by_default = "is not running"
    remedy_by_default = "start it: esprit up <file>"

    def __init__(
        self,
        subject: str,
        message: str = "",
        *,
        remedy: str | None = None,
        several: bool = False,
    ) -> None:
        if several:
            message = message or "are running, and none was named"
            remedy = remedy or "name one with --team"
        super().__init__(subject, message, remedy=remedy)


class AlreadyRunning(EspritError):
    """Another process serves that team or network namespace."""

    code = "already-running"
    exit_code = 11
    http_status = 409
    message_by_default = "is running already"
    remedy_by_default = "end the other process first"


class NotFound(EspritError):
    """There is no object of that name."""

    code = "not-found"
    exit_code = 12
    http_status = 404
    message_by_default = "does not exist"
    remedy_by_default = "`show` lists what there is"


class Conflict(EspritError):
    """The change contradicts what is there."""

    code = "conflict"
    exit_code = 13
    http_status = 409
    message_by_default = "contradicts what is there"
    remedy_by_default = "remove or replace the other first"


class BadRequest(EspritError):
    """A request to the control socket makes no sense."""

    code = "bad-request"
    exit_code = 14
    http_status = 400
    message_by_default = "is not a request that can be answered"
    remedy_by_default = "see `esprit --help`"


class ApplyFailed(EspritError):
    """A change did not go in. Everything is as it was before."""

    code = "apply-failed"
    exit_code = 15
    http_status = 500
    message_by_default = "could not be applied; everything is as it was"
    remedy_by_default = "remove the cause and apply again"


class RollbackFailed(ApplyFailed):
    """A change did not go in, and what was done already could not be undone."""

    code = "rollback-failed"
    message_by_default = "could not be applied, nor undone"
    remedy_by_default = "end the Esprit process; the next start puts back what was set"


class SystemLacks(EspritError):
    """A program, kernel feature or Python package is missing."""

    code = "system-lacks"
    exit_code = 16
    http_status = 501
    message_by_default = "is missing on this system"
    remedy_by_default = "install it"


class NetfilterRefused(SystemLacks):
    """The nftables table that shuts the members could not be set or read."""

    code = "netfilter-refused"
    message_by_default = "did not take the rules that shut the members"
    remedy_by_default = "run as root, on a kernel with nf_tables' netdev family"


class ExtensionUnusable(SystemLacks):
    """The extension is not built, or is another version's."""

    code = "extension-unusable"
    message_by_default = "cannot be loaded"
    remedy_by_default = "build it with `make build`"


class StateUnusable(EspritError):
    """Our own files (what was set, high-water marks) cannot be read or written."""

    code = "state-unusable"
    exit_code = 17
    http_status = 500
    message_by_default = "cannot be used"
    remedy_by_default = "run as root, or name another folder"


class DataPlaneError(EspritError):
    """The data plane refused, or has stopped.

    Args:
        message: What it said.
        remedy: What to do.
    """

    code = "data-plane"
    exit_code = 18
    http_status = 500
    message_by_default = "refused"
    remedy_by_default = "see `esprit monitor`; a restart adopts the team as it is"
    subject_by_default: ClassVar[str] = "data plane"

    def __init__(self, message: str = "", *, remedy: str | None = None) -> None:
        super().__init__(self.subject_by_default, message, remedy=remedy)


class PortGone(DataPlaneError):
    """An interface vanished under us; its port is to be rebuilt.

    Args:
        interface: The interface.
        remedy: What to do.
    """

    code = "port-gone"
    http_status = 409
    message_by_default = "is gone"
    remedy_by_default = "plug it in again, or remove the member"

    def __init__(self, interface: str, *, remedy: str | None = None) -> None:
        super().__init__(remedy=remedy)
        self.subject = interface


class TaskFailed(DataPlaneError):
    """No engine did what an application asked for.

    Args:
        message: Why not.
        remedy: What to do.
    """

    code = "task-failed"
    http_status = 503
    message_by_default = "no engine could do it"
    remedy_by_default = "see `Pool.stats()`, of a running team `esprit engine show`"
    subject_by_default = "pool"


def _descendants(cls: type[EspritError]) -> list[type[EspritError]]:
    return [cls, *(leaf for sub in cls.__subclasses__() for leaf in _descendants(sub))]


#: Every class of the tree by its code.
BY_CODE: Mapping[str, type[EspritError]] = {cls.code: cls for cls in _descendants(EspritError)}


def from_wire(answer: Mapping[str, object], *, subject: str = "control socket") -> EspritError:
    """The exception that :meth:`EspritError.to_wire` described, for clients to raise.

    An unknown code, of a newer process, becomes a plain :class:`EspritError`.

    Args:
        answer: The decoded JSON object.
        subject: Stands for a subject that the answer does not name.
    """
    cls = BY_CODE.get(str(answer.get("code")), EspritError)
    # Some classes word their own message; what came over the wire is worded already.
    error = cls.__new__(cls)
    EspritError.__init__(
        error,
        str(answer.get("subject", subject)),
        str(answer.get("message", "")),
        remedy=str(answer.get("remedy", cls.remedy_by_default)),
    )
    if isinstance(error, ConfigInvalid):
        error.lines = tuple(error.message.splitlines())
    return error
