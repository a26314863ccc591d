"""The tables that ``show`` prints for people. ``-j`` prints the resource itself."""

from collections.abc import Iterator, Sequence

from esprit.cli import render
from esprit.cli.explain import columns
from esprit.daemon.resources import (
    EngineResource,
    EventResource,
    FeatureResource,
    MaskResource,
    MemberResource,
    PolicyResource,
    SaResource,
    TeamResource,
)


def team(found: TeamResource) -> None:
    """Print a team: what it is, then its members."""
    rx, tx = found["stats64"]["rx"], found["stats64"]["tx"]
    print(
        f"{found['ifname']}: {found['operstate']} mtu {found['mtu']} address {found['address']} "
        f"mode {found['mode']}"
    )
    print(
        f"    active {', '.join(found['active']) or 'none'}; "
        f"receiver {found['receiver'] or 'none'}; "
        f"failback {found['failback']}; software {found['software']}; "
        f"delivery {found['delivery']}; plan {found['epoch']}"
    )
    probe = found["probe"]
    probing = (
        f"probe every {probe['every_ms']:g} ms, deaf after {probe['miss']} of {probe['of']}"
        if probe["every_ms"]
        else "no probing"
    )
    sampled = {0: "off", 1: "all"}.get(found["verify"], f"sample:1/{found['verify']}")
    print(
        f"    preferred {found['preferred'] or 'none'}; headroom {found['headroom']:g}; "
        f"verify {sampled}; {probing}"
    )
    print(
        f"    from the host {tx['packets']} packets {render.size(tx['bytes'])}; "
        f"to the host {rx['packets']} packets {render.size(rx['bytes'])}"
    )
    if any(found["drops"].values()):
        print(f"    drops {render.drops(found['drops'])}")
    mask(found["mask"])
    print()
    members(found["members"])


def mask(found: MaskResource) -> None:
    """Print the transmission mask: who encrypts for whom, by algorithm and direction."""
    if not found["seal"] and not found["open"]:
        print("    IPsec is withdrawn: no verified engine gives it")
    for direction, lines in (("seal", found["seal"]), ("open", found["open"])):
        for line in lines:
            own = f" own {' '.join(line['own'])}" if line["own"] else ""
            backed = f" backed up {' '.join(line['backed'])}" if line["backed"] else ""
            print(f"    {direction} {line['algorithm']}:{own}{backed}")


def members(found: Sequence[MemberResource]) -> None:
    """Print members."""
    render.table(
        (
            "member", "state", "role", "receiver", "engine", "heard", "probes", "tx errors",
            "rx packets", "tx packets", "drops",
        ),
        (
            (
                one["ifname"],
                one["operstate"],
                one["role"] + (f", held {one['held_ms']} ms" if one["held_ms"] else ""),
                "yes" if one["receiver"] else "",
                one["engine"] or "none, backed up by the team",
                "yes" if one["heard"] else "no",
                f"{one['probes']['heard']}/{one['probes']['sent']}",
                str(one["tx_errors"]),
                str(one["stats64"]["rx"]["packets"]),
                str(one["stats64"]["tx"]["packets"]),
                render.drops(one["drops"]),
            )
            for one in found
        ),
    )  # fmt: skip


def features(found: Sequence[FeatureResource]) -> None:
    """Print features, a line each, as ``ethtool -k`` does, and how far their providers got."""
    render.table(
        ("feature", "advertised by", "accepted", "verified", "why"),
        (
            (
                f"{one['feature']}: {one['value']}{' [fixed]' if one['fixed'] else ''}",
                *columns(one),
                one["reason"],
            )
            for one in found
        ),
    )


def engines(found: Sequence[EngineResource]) -> None:
    """Print engines with their measured rates and what they did."""
    render.table(
        (
            "engine", "kind", "member", "health", "ways", "seal ns/packet + ns/B",
            "primary jobs", "secondary jobs", "redone", "failed", "backlog us",
        ),
        (
            (
                one["name"],
                f"{one['kind']} (simulated)" if one["simulated"] else one["kind"],
                one["ifname"] or "",
                one["health"],
                "+".join(
                    word for word in ("lookaside", "inline") if one[word]
                ),
                _rate(one),
                str(one["primary_jobs"]),
                str(one["secondary_jobs"]),
                str(one["redone"]),
                str(one["failed"]),
                f"{one['backlog_ns'] / 1000:.0f}",
            )
            for one in found
        ),
    )  # fmt: skip
    for one in found:
        _trouble(one)


def engine(one: EngineResource) -> None:
    """Print one engine: what :func:`engines` says, then its queue, its checks and its tests."""
    engines([one])
    print(f"    queue {one['outstanding']} jobs, {one['backlog_ns'] / 1000:.0f} us")
    for line in _declared(one):
        print(f"    {line}")
    print(
        f"    checked {one['checked']} jobs, canaries {one['canaries']}, "
        f"second looks {one['second_looks']}, wrong {one['wrong']}"
    )
    render.table(
        ("algorithm", "direction", "test", "evidence"),
        (
            (
                test["algorithm"],
                test["direction"],
                "passed" if test["passed"] else "failed",
                test["evidence"],
            )
            for test in one["tests"]
        ),
    )


def _declared(one: EngineResource) -> Iterator[str]:
    """What an engine says of itself, which decides what it is given."""
    memory = "the host's memory" if one["memory"] is None else render.size(one["memory"])
    yield (
        f"takes ahead {one['queue_ns'] / 1000:g} us, {one['queue_jobs']} jobs, {memory}; "
        f"hung if late by {one['patience_ns'] / 1000:g} us; "
        f"completions gathered {one['coalesce_ns'] / 1000:g} us"
    )
    slots = "any number of keys" if one["sa_slots"] is None else f"{one['sa_slots']} keys"
    way = one["transfer"]
    yield (
        f"{slots}, {one['key_install_ns'] / 1000:g} us to install; "
        f"others' jobs on the way {way['ns_per_job'] / 1000:g} us + {way['ns_per_byte']:g} ns/B; "
        f"esn {'yes' if one['esn'] else 'no'}; replay window up to {one['max_replay_window']}"
    )


def _trouble(one: EngineResource) -> None:
    """Print what is known against an engine, and which of its tests failed."""
    failed = [test for test in one["tests"] if not test["passed"]]
    if one["evidence"]:
        since = f" since {one['since'] / 1e9:.6f}" if one["since"] is not None else ""
        again = f", tested again at {one['retest'] / 1e9:.6f}" if one["retest"] is not None else ""
        print(f"{one['name']}: {one['health']}{since}{again}")
    for line in one["evidence"]:
        print(f"    {line}")
    for test in failed:
        print(f"{one['name']}: {test['algorithm']} {test['direction']} failed: {test['evidence']}")


def _rate(one: EngineResource) -> str:
    for rate in one["rates"]:
        if rate["direction"] == "seal":
            return f"{rate['ns_per_packet']:.0f} + {rate['ns_per_byte']:.3f}"
    return ""


def sas(found: Sequence[SaResource]) -> None:
    """Print security associations; keys are nowhere here."""
    render.table(
        (
            "sa", "dir", "src", "dst", "spi", "mode", "aead", "weight", "member", "policy", "seq",
            "packets", "drops",
        ),
        (
            (
                one["name"],
                one["dir"],
                one["src"],
                one["dst"],
                one["spi"],
                one["mode"] + (" espinudp" if one["encap"] else ""),
                one["aead"] + (" esn" if one["esn"] else ""),
                str(one["weight"]),
                one["dev"] or "",
                one["policy"] or "",
                str(one["seq"]),
                str(one["packets"]),
                render.drops(one["drops"])
                + ("" if one["dir"] == "in" or one["next_hop"] else " next hop unresolved"),
            )
            for one in found
        ),
    )  # fmt: skip


def policies(found: Sequence[PolicyResource]) -> None:
    """Print the SPD in the order in which it matches."""
    render.table(
        ("policy", "action", "src", "dst", "proto", "sport", "dport", "sas", "packets"),
        (
            (
                one["name"] + (" [built in]" if one["builtin"] else ""),
                one["action"],
                one["src"],
                one["dst"],
                one["proto"] or "",
                one["sport"] or "",
                one["dport"] or "",
                " ".join(one["sas"]),
                "" if one["builtin"] else str(one["packets"]),
            )
            for one in found
        ),
    )


def event(found: EventResource) -> None:
    """Print an event on one line."""
    time = found.get("time")
    stamp = f"{time / 1e9:.6f}" if isinstance(time, int) else ""
    rest = " ".join(f"{key}={value}" for key, value in found.items() if key not in ("time", "kind"))
    print(f"{stamp} {found['kind']} {rest}".strip(), flush=True)
