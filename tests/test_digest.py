"""Digests of contents, against bytes put together by hand: what is on disk was sealed with them."""

from __future__ import annotations

import hashlib

import jax.numpy as jnp
import numpy as np

from ntk_air import _digest


def by_hand(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_arrays_are_told_by_place_type_shape_and_bytes():
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    b = np.array([7, -1], np.int64)
    expected = by_hand(b"['a'] float32 (2, 3)", a.tobytes(), b"['b'][0] int64 (2,)", b.tobytes())
    assert _digest.digest_of_arrays({"b": [b], "a": jnp.asarray(a)}) == expected
    others = [{"a": a.T}, {"a": a.astype(np.float64)}, {"c": a}, {"a": a.reshape(3, 2)}, {"a": -a}]
    found = {_digest.digest_of_arrays(tree) for tree in [{"a": a}, *others]}
    assert len(found) == 6
    # The order in memory is not content.
    assert _digest.digest_of_arrays({"a": a.T}) == _digest.digest_of_arrays({"a": a.T.copy()})


def test_texts_and_files(tmp_path):
    (tmp_path / "file").write_bytes(b"\x00\xffcontent")
    assert _digest.digest_of_file(tmp_path / "file") == by_hand(b"\x00\xffcontent")
    assert _digest.digest_of_text("α") == by_hand("α".encode())
    assert len(_digest.digest_of_text("")) == 2 * _digest.DIGEST_SIZE
    taken = _digest.new_digest("first")
    _digest.add_bytes(taken, np.arange(3, dtype=np.int32)[::-1])
    assert taken.hexdigest() == by_hand(b"first", np.array([2, 1, 0], np.int32).tobytes())
