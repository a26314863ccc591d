"""The AEAD classes for applications, held against the ``cryptography`` package's."""

import asyncio
import gc
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from cryptography.exceptions import InvalidTag as TheirInvalidTag
from cryptography.hazmat.primitives.ciphers import aead as theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from esprit import crypto
from esprit.crypto import AESGCM, ChaCha20Poly1305, EngineSpec, InvalidTag, Pool
from esprit.errors import Conflict, DataPlaneError, NotFound, TaskFailed
from esprit.verify import retests

Aead = AESGCM | ChaCha20Poly1305
KEY = bytes(range(32))
NONCE = b"\1" * 12
# A message that a job holds, and one that it does not.
SIZES = st.one_of(
    st.integers(0, 300),
    st.sampled_from([1400, 16384, 65535, 65536, 65537, 70_000, 200_000]),
)


def cpu(name: str = "cores", threads: int = 1) -> EngineSpec:
    return EngineSpec(name=name, kind="cpu", threads=threads)


def asic(name: str, rate_bps: int = 1_000_000_000, **rest: int) -> EngineSpec:
    return EngineSpec(name=name, kind="asic", rate_bps=rate_bps, **rest)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool([cpu("a", 0), cpu("b", 2), asic("c")]) as pool:
        yield pool


def pairs(pool: Pool, key: bytes) -> list[tuple[Aead, theirs.AESGCM | theirs.ChaCha20Poly1305]]:
    found: list[tuple[Aead, theirs.AESGCM | theirs.ChaCha20Poly1305]] = [
        (AESGCM(key, pool=pool), theirs.AESGCM(key)),
        (AESGCM(key[:16], pool=pool), theirs.AESGCM(key[:16])),
        (ChaCha20Poly1305(key, pool=pool), theirs.ChaCha20Poly1305(key)),
    ]
    return found


# byte for byte


@settings(max_examples=60)
@given(
    key=st.binary(min_size=32, max_size=32),
    nonce=st.binary(min_size=12, max_size=12),
    size=SIZES,
    aad=st.none() | st.binary(max_size=40) | st.sampled_from([b"x" * 4096, b"x" * 5000]),
    flip=st.integers(0, 1 << 30),
)
def test_every_byte_is_what_cryptography_makes_and_every_forgery_is_found(
    pool: Pool, key: bytes, nonce: bytes, size: int, aad: bytes | None, flip: int
) -> None:
    data = (key * (size // 32 + 1))[:size]
    for ours, their in pairs(pool, key):
        sealed = ours.encrypt(nonce, data, aad)
        assert sealed == their.encrypt(nonce, data, aad)
        assert ours.decrypt(nonce, sealed, aad) == data
        forged = bytearray(sealed)
        forged[flip % len(forged)] ^= 1 << flip % 8
        with pytest.raises(InvalidTag):
            ours.decrypt(nonce, forged, aad)
        with pytest.raises(InvalidTag):
            ours.decrypt(nonce, sealed, (aad or b"") + b"!")


@settings(max_examples=30)
@given(sizes=st.lists(SIZES, max_size=150), seed=st.binary(min_size=4, max_size=4))
def test_a_batch_comes_back_in_its_order(pool: Pool, sizes: list[int], seed: bytes) -> None:
    messages = [
        (seed + at.to_bytes(8, "big"), (seed * (size // 4 + 1))[:size], seed[: at % 5])
        for at, size in enumerate(sizes)
    ]
    for ours, their in pairs(pool, KEY)[1:]:
        sealed = ours.encrypt_many(messages)
        assert sealed == [their.encrypt(*one) for one in messages]
        again = [(nonce, text, aad) for (nonce, _, aad), text in zip(messages, sealed, strict=True)]
        assert ours.decrypt_many(again) == [data for _, data, _ in messages]


def test_one_forgery_does_not_spoil_a_batch(pool: Pool) -> None:
    aead = AESGCM(KEY, pool=pool)
    nonces = [at.to_bytes(12, "big") for at in range(200)]
    sealed = aead.encrypt_many([(nonce, b"data" * 100, None) for nonce in nonces])
    sealed[77] = b"\0" + sealed[77][1:] if sealed[77][0] else b"\1" + sealed[77][1:]
    sealed[78] = b"short"
    opened = aead.decrypt_many([(n, s, None) for n, s in zip(nonces, sealed, strict=True)])
    assert [at for at, one in enumerate(opened) if isinstance(one, InvalidTag)] == [77, 78]
    assert all(one == b"data" * 100 for at, one in enumerate(opened) if at not in (77, 78))


# the same shape


def outcome(call: Callable[[], object]) -> object:
    """Return what a call gives, or the class and text of what it raises."""
    try:
        return call()
    except Exception as error:
        return type(error), str(error).splitlines()[:1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("x" * 12, b"data", None),
        (NONCE, "data", None),
        (NONCE, b"data", "aad"),
        (NONCE, 5, None),
        (NONCE, memoryview(b"abcdef")[::2], None),
        (NONCE, b"data"),
        (bytearray(NONCE), memoryview(b"data"), bytearray(b"aad")),
        (NONCE, b"", b""),
    ],
)
def test_arguments_are_refused_and_taken_as_cryptography_does(
    pool: Pool, arguments: tuple[object, ...]
) -> None:
    for ours, their in pairs(pool, KEY):
        for name in ("encrypt", "decrypt"):
            if name == "decrypt" and arguments[-1:] == (b"",):
                continue
            mine = outcome(lambda ours=ours, name=name: getattr(ours, name)(*arguments))  # type: ignore[misc]
            other = outcome(lambda their=their, name=name: getattr(their, name)(*arguments))  # type: ignore[misc]
            if isinstance(other, tuple) and other[0] is TheirInvalidTag:
                assert mine == (InvalidTag, [])
            elif isinstance(other, tuple) and "positional" in other[1][0]:
                assert isinstance(mine, tuple)
                assert mine[0] is TypeError
            else:
                assert mine == other


def test_wrong_keys_and_nonces_are_refused_in_cryptography_s_words() -> None:
    for length in (0, 15, 17, 31, 33):
        with pytest.raises(ValueError, match="AESGCM key must be"):
            AESGCM(bytes(length))
        with pytest.raises(ValueError, match=r"ChaCha20Poly1305 key must be 32 bytes\."):
            ChaCha20Poly1305(bytes(length))
    with pytest.raises(ValueError, match="128 or 256 bits"):
        AESGCM(bytes(24))  # the engines have no AES-192
    with pytest.raises(TypeError):
        AESGCM("k" * 16)  # type: ignore[arg-type]
    for length in (0, 8, 11, 13, 16):
        with pytest.raises(ValueError, match="Nonce must be 12 bytes"):
            AESGCM(KEY).encrypt(bytes(length), b"", None)
    assert [len(AESGCM.generate_key(bits)) for bits in (128, 256)] == [16, 32]
    assert len(ChaCha20Poly1305.generate_key()) == 32
    with pytest.raises(ValueError, match="bit_length"):
        AESGCM.generate_key(192)


def test_the_exception_is_cryptography_s_too() -> None:
    assert issubclass(InvalidTag, TheirInvalidTag)
    with pytest.raises(TheirInvalidTag):
        AESGCM(KEY).decrypt(NONCE, b"", None)


def test_into_a_buffer_of_the_right_size(pool: Pool) -> None:
    aead = ChaCha20Poly1305(KEY, pool=pool)
    sealed, opened = bytearray(20), bytearray(4)
    assert aead.encrypt_into(NONCE, b"data", None, sealed) == 20
    assert bytes(sealed) == aead.encrypt(NONCE, b"data", None)
    assert aead.decrypt_into(NONCE, sealed, None, memoryview(opened)) == 4
    assert opened == b"data"
    with pytest.raises(ValueError, match="buffer must be 20 bytes"):
        aead.encrypt_into(NONCE, b"data", None, bytearray(19))
    with pytest.raises(InvalidTag):
        aead.decrypt_into(NONCE, b"short", None, bytearray(1))


# keys


def test_a_key_is_not_shown_and_not_pickled_and_gone_after_close(pool: Pool) -> None:
    aead = AESGCM(b"\xab" * 16, pool=pool)
    assert "abab" not in repr(aead) + repr(aead._key) + str(aead._key)
    assert "171" not in repr(aead._key)
    for one in (aead, aead._key):
        with pytest.raises(TypeError):
            pickle.dumps(one)
    aead.close()
    aead.close()
    with pytest.raises(DataPlaneError, match="cleared"):
        aead.encrypt(NONCE, b"", None)


# without waiting


@pytest.mark.anyio
async def test_awaited_results_are_the_same_and_the_loop_goes_on(pool: Pool) -> None:
    aead = AESGCM(KEY, pool=pool)
    their = theirs.AESGCM(KEY)
    nonces = [at.to_bytes(12, "big") for at in range(600)]
    sizes = [(at * 37) % 3000 for at in range(600)]
    sizes[5] = 100_000  # a thread does it
    sealed = await asyncio.gather(
        *(aead.encrypt_async(n, bytes(s), n) for n, s in zip(nonces, sizes, strict=True))
    )
    assert sealed == [their.encrypt(n, bytes(s), n) for n, s in zip(nonces, sizes, strict=True)]
    opened = await asyncio.gather(
        *(aead.decrypt_async(n, s, n) for n, s in zip(nonces, sealed, strict=True))
    )
    assert [len(one) for one in opened] == sizes
    with pytest.raises(InvalidTag):
        await aead.decrypt_async(NONCE, sealed[0], None)
    many = await aead.encrypt_many_async([(NONCE, b"x", None)] * 3)
    assert many == [their.encrypt(NONCE, b"x", None)] * 3
    assert await aead.decrypt_many_async([(NONCE, many[0], None)]) == [b"x"]


@pytest.mark.anyio
async def test_more_than_there_is_room_for_waits_its_turn_also_when_some_give_up() -> None:
    with Pool([asic("slow", 20_000_000)], room=2) as pool:
        aead = AESGCM(KEY, pool=pool)
        tasks = [
            asyncio.create_task(aead.encrypt_async(at.to_bytes(12, "big"), bytes(1000), None))
            for at in range(40)
        ]
        await asyncio.sleep(0)
        for task in tasks[::4]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in found[::4])
        rest = [one for at, one in enumerate(found) if at % 4]
        assert [one if isinstance(one, BaseException) else len(one) for one in rest] == [1016] * 30
        # What was cancelled while it was under way has given its place back.
        assert len(await aead.encrypt_async(NONCE, b"", None)) == 16
        assert pool.stats().in_flight == 0
        assert pool.stats().waits > 0


def test_one_object_serves_several_event_loops(pool: Pool) -> None:
    aead = ChaCha20Poly1305(KEY, pool=pool)
    want = theirs.ChaCha20Poly1305(KEY).encrypt(NONCE, b"data", None)

    async def once() -> None:
        for _ in range(20):
            assert await aead.encrypt_async(NONCE, b"data", None) == want

    hammer(lambda _: asyncio.run(once()), 3)
    asyncio.run(once())


def hammer(work: Callable[[int], object], threads: int) -> None:
    """Run ``work`` on threads, and raise what one of them raised."""
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=guarded, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if errors:
        raise errors[0]


# many threads, faults, limits


def test_threads_hammer_one_pool_and_each_gets_its_own(pool: Pool) -> None:
    def work(number: int) -> None:
        key = bytes([number]) * 32
        for ours, their in pairs(pool, key):
            for at in range(40):
                nonce, data = at.to_bytes(12, "big"), bytes([at]) * (at * 50)
                assert ours.encrypt(nonce, data, None) == their.encrypt(nonce, data, None)

    hammer(work, 6)
    assert pool.stats().in_flight == 0


@pytest.mark.parametrize("fault", ["die", "hang"])
def test_an_engine_that_fails_at_work_loses_no_task(fault: str) -> None:
    with Pool([asic("nic"), cpu()]) as pool:
        aead, their = AESGCM(KEY, pool=pool), theirs.AESGCM(KEY)
        messages = [(at.to_bytes(12, "big"), bytes(1000), None) for at in range(3000)]
        result: list[list[bytes]] = []
        thread = threading.Thread(target=lambda: result.append(aead.encrypt_many(messages)))
        thread.start()
        while pool.stats().messages < 300:
            time.sleep(0)
        pool.fault_engine("nic", fault)  # type: ignore[arg-type]
        thread.join()
        assert result[0] == [their.encrypt(*one) for one in messages]
        pool.reset_engine("nic")
        assert [one.health for one in pool.stats().engines] == ["ok", "ok"]


def test_an_engine_that_was_late_is_tested_again_and_works_again() -> None:
    with Pool([asic("nic")]) as pool:
        aead, their = AESGCM(KEY, pool=pool), theirs.AESGCM(KEY)
        before = pool.report("nic")
        pool.fault_engine("nic", "late", 100_000)
        messages = [(at.to_bytes(12, "big"), bytes(1000), None) for at in range(300)]
        assert aead.encrypt_many(messages) == [their.encrypt(*one) for one in messages]
        while pool.report("nic") is before:
            time.sleep(0)
        assert [one.health for one in pool.stats().engines] == ["ok"]
        assert aead.encrypt(*messages[0]) == their.encrypt(*messages[0])


def test_a_liar_stays_out_until_it_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retests, "FIRST_NS", 1_000_000)
    with Pool([asic("nic"), cpu()]) as pool:
        aead, their = AESGCM(KEY, pool=pool), theirs.AESGCM(KEY)
        pool.fault_engine("nic", "wrong", 1)
        messages = [(at.to_bytes(12, "big"), bytes(1000), None) for at in range(300)]
        seen = ["ok", "ok"]
        while seen == ["ok", "ok"]:
            aead.encrypt_many(messages)
            seen = [one.health for one in pool.stats().engines]
        assert aead.encrypt_many(messages) == [their.encrypt(*one) for one in messages]
        pool.fault_engine("nic", "heal")
        while seen != ["ok", "ok"]:
            time.sleep(0)
            seen = [one.health for one in pool.stats().engines]


def test_a_pool_that_nobody_has_any_more_leaves_no_thread() -> None:
    def keepers() -> int:
        return sum(one.name == "esprit-keeper" for one in threading.enumerate())

    others = keepers()
    pool = Pool([cpu()])
    assert keepers() == others + 1
    del pool
    gc.collect()
    assert keepers() == others


def test_a_pool_with_no_engine_left_says_so() -> None:
    with Pool([cpu()]) as pool:
        aead = AESGCM(KEY, pool=pool)
        pool.remove_engine("cores")
        with pytest.raises(TaskFailed, match="no engine"):
            aead.encrypt(NONCE, b"data", None)
        with pytest.raises(TaskFailed, match="no engine"):
            asyncio.run(aead.encrypt_async(NONCE, b"data", None))
        pool.add_engine(cpu())
        assert len(aead.encrypt(NONCE, b"data", None)) == 20
        with pytest.raises(Conflict):
            pool.add_engine(cpu())
        with pytest.raises(NotFound):
            pool.remove_engine("other")


def test_a_closed_pool_says_so() -> None:
    pool = Pool([cpu()])
    aead = AESGCM(KEY, pool=pool)
    pool.close()
    with pytest.raises(TaskFailed, match="the pool is closed"):
        aead.encrypt(NONCE, b"data", None)
    with pytest.raises(TaskFailed, match="the pool is closed"):
        asyncio.run(aead.encrypt_async(NONCE, b"data", None))


def test_an_engine_without_the_cipher_is_not_asked() -> None:
    only = EngineSpec(name="old", kind="asic", algorithms=("aes-128-gcm-16",))
    with Pool([only]) as pool:
        assert AESGCM(KEY[:16], pool=pool).encrypt(NONCE, b"", None)
        with pytest.raises(TaskFailed, match="no engine"):
            ChaCha20Poly1305(KEY, pool=pool).encrypt(NONCE, b"", None)


def test_other_threads_run_while_one_waits() -> None:
    with Pool([asic("slow", 10_000_000)]) as pool:
        aead = AESGCM(KEY, pool=pool)
        thread = threading.Thread(target=lambda: aead.encrypt(NONCE, bytes(60_000), None))
        thread.start()
        turns = 0
        while thread.is_alive():  # some 50 ms; with the interpreter's lock held there were none
            turns += 1
        thread.join()
        assert turns > 100


def test_what_is_too_long_for_the_pool_is_counted_apart() -> None:
    with Pool([cpu()]) as pool:
        aead = AESGCM(KEY, pool=pool)
        aead.encrypt(NONCE, bytes(65_536), None)
        aead.encrypt(NONCE, bytes(65_537), None)
        aead.encrypt(NONCE, b"", bytes(5000))
        stats = pool.stats()
        assert (stats.messages, stats.bytes) == (1, 65_536)
        assert (stats.own_messages, stats.own_bytes) == (2, 65_537)
        (engine,) = stats.engines
        assert (engine.name, engine.kind, engine.messages) == ("cores", "cpu", 1)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_the_default_pool_is_made_once_and_anew_after_a_fork() -> None:
    sealed = AESGCM(KEY).encrypt(NONCE, b"data", None)
    assert crypto.default_pool() is crypto.default_pool()
    gc.collect()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if AESGCM(KEY).encrypt(NONCE, b"data", None) == sealed else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_public_names() -> None:
    public = {name for name in vars(crypto) if not name.startswith("_")}
    assert set(crypto.__all__) <= public
    assert InvalidTag.__module__ == "esprit.crypto"
