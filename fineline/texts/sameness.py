"""When two texts are the same, or nearly: normal form, and near-duplicate groups by MinHash."""

import functools
import itertools
import re
import sys
import unicodedata
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fineline.process.progress import progress

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from fineline.artifacts.folders import Manifest

# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt) but for tags, which tell the flags of regions apart.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0100-\U000e01ef]+"
)
_JOINERS = "\u200c\u200d\ufe0e\ufe0f"  # within a word or an emoji they decide what is seen
_PERMUTATIONS = 128
_SEED = 1
_SHINGLE = 4
_SHARED = 4
_ROWS_AT_ONCE = 500
_PAIRS_AT_ONCE = 200_000


def normalise(text: str, fold: Collection[str] = ()) -> str:
    """The normal form in which two texts count as the same: NFC, case folded, without invisible characters, runs of white
    space as one space. Marks, symbols, emoji and punctuation stay: they carry meaning.

    `fold` takes more away: 'compatibility' (NFKC: full-width letters, ligatures, superscripts), 'punctuation' and 'symbols'
    (Unicode's categories P and S; a space in their place). Nothing is taken away where nothing would be left.
    """
    composed = unicodedata.normalize("NFKC" if "compatibility" in fold else "NFC", text)
    form = unicodedata.normalize("NFC", unicodedata.normalize("NFD", composed).casefold())
    form = " ".join(_INVISIBLE.sub("", form).split())
    if folded := frozenset(fold) & {"punctuation", "symbols"}:
        return " ".join(form.translate(_spaces(folded)).split()) or form
    return form


def clean_name(text: str) -> str:
    """A label, a group or the like without what nobody sees: NFC, no invisible characters, no space around it."""
    kept = _INVISIBLE.sub(
        lambda found: "".join(c for c in found[0] if c in _JOINERS), unicodedata.normalize("NFC", text)
    )
    return kept.strip().strip("\u200c\u200d").strip()


def fold_of(manifest: "Manifest") -> tuple[str, ...]:
    """What `data_quality.fold` was for the rows of an artifact: later steps compare texts as data_quality did."""
    chain = [*manifest.ancestors, manifest.without_ancestors()]
    return tuple(next((entry["params"].get("fold", ()) for entry in chain if entry["step"] == "data_quality"), ()))


@functools.cache
def _spaces(folded: frozenset[str]) -> dict[int, str]:
    initials = {name[0].upper() for name in folded}
    return {code: " " for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] in initials}


def shingles(form: str) -> frozenset[str]:
    """The character 4-grams of a normal form (the whole of it when it is shorter)."""
    return frozenset(form[i : i + _SHINGLE] for i in range(max(1, len(form) - _SHINGLE + 1)))


def near_pairs(forms: Sequence[str], threshold: float) -> list[tuple[int, int]]:
    """All index pairs i < j of normal forms whose shingles have a Jaccard similarity of at least `threshold` (0 to 1), found by
    MinHash LSH.

    Candidates from LSH (Leskovec et al., Mining of Massive Datasets, ch. 3) are checked exactly, so there are no false
    pairs; a true pair near the threshold can be missed. The result depends on nothing but the arguments.
    """
    from datasketch import MinHash, MinHashLSH

    sets = [shingles(form) for form in forms]
    lsh = MinHashLSH(threshold=max(0.1, threshold - 0.1), num_perm=_PERMUTATIONS)
    pairs = []
    hashes = MinHash.generator(
        ([s.encode() for s in sorted(group)] for group in sets), num_perm=_PERMUTATIONS, seed=_SEED
    )
    for j, minhash in enumerate(hashes):
        for key in lsh.query(minhash):
            i = int(key)
            if len(sets[i] & sets[j]) >= threshold * len(sets[i] | sets[j]):
                pairs.append((i, j))
        lsh.insert(str(j), minhash, check_duplication=False)
    return sorted(pairs)


def exact_near_pairs(forms: Sequence[str], threshold: float, sides: "np.ndarray | None" = None) -> np.ndarray:
    """All index pairs i < j of normal forms whose shingles have a Jaccard similarity of at least `threshold` (above 0 to 1),
    none missed; sorted, int64 (m, 2).

    For a promise ("no row of the test split is near one of training"), where `near_pairs` would leave out about 5 in 100
    pairs just above the threshold. With `sides`, int64 (n,), only pairs that lie on different sides. A set-similarity join
    by prefix filtering: two sets that overlap in a share of their members share some of their rarest ones (Bayardo et al.
    2007, Scaling up all pairs similarity search; with several shared ones: Wang et al. 2012, Can we beat the prefix filtering?).
    Its time grows with the square of the rows at low thresholds: 1 s for 10,000 short texts, 25 s for 100,000 at 0.8.
    """
    whole, sizes = _shingle_matrix(forms)
    # Near texts share at least `least` shingles, so all but `least - _SHARED` of the rarest hold `_SHARED` common ones.
    least = np.ceil(threshold * sizes - 1e-9).astype(np.int64)
    rare = _first_columns(whole, np.minimum(sizes, sizes - least + _SHARED))
    rare_by_shingle = rare.T.tocsr()
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for first in progress(
        range(0, len(forms), _ROWS_AT_ONCE),
        "near-duplicates",
        -(-len(forms) // _ROWS_AT_ONCE),
        f"x {_ROWS_AT_ONCE} texts",
    ):
        common = (rare[first : first + _ROWS_AT_ONCE] @ rare_by_shingle).tocoo()
        i, j = common.row.astype(np.int64) + first, common.col.astype(np.int64)
        needed = np.maximum(least[i], least[j])
        found = (i < j) & (common.data >= np.minimum(needed, _SHARED)) & (np.minimum(sizes[i], sizes[j]) >= needed)
        if sides is not None:
            found &= sides[i] != sides[j]
        i, j = i[found], j[found]
        for start in range(0, len(i), _PAIRS_AT_ONCE):
            left, right = i[start : start + _PAIRS_AT_ONCE], j[start : start + _PAIRS_AT_ONCE]
            shared = whole[left].multiply(whole[right]).sum(axis=1)
            near = shared >= threshold * (sizes[left] + sizes[right] - shared)
            pairs.append(np.stack([left[near], right[near]], axis=1))
    together = np.concatenate(pairs)
    return together[np.lexsort(together.T[::-1])]


def _shingle_matrix(forms: Sequence[str]) -> "tuple[csr_array, np.ndarray]":
    """Which shingles each form holds, 0/1 (n, shingles), a row's columns in order and the rarest shingle first; and how many,
    int64 (n,)."""
    from scipy.sparse import csr_array

    index: dict[str, int] = {}
    sets = [[index.setdefault(shingle, len(index)) for shingle in shingles(form)] for form in forms]
    sizes = np.array([len(members) for members in sets], dtype=np.int64)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    flat = np.fromiter(itertools.chain.from_iterable(sets), dtype=np.int64, count=int(ends[-1]))
    rarity = np.empty(len(index), dtype=np.int64)
    rarity[np.argsort(np.bincount(flat, minlength=len(index)), kind="stable")] = np.arange(len(index))
    owner = np.repeat(np.arange(len(forms)), sizes)
    columns = np.sort(owner * len(index) + rarity[flat]) - owner * len(index)
    ones = np.ones(len(columns), dtype=np.int32)
    return csr_array((ones, columns, ends), shape=(len(forms), len(index))), sizes


def _first_columns(matrix: "csr_array", counts: np.ndarray) -> "csr_array":
    """`matrix` with as many of each row's entries, from its first column on, as `counts`, int64 (n,), says."""
    from scipy.sparse import csr_array

    owner = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    kept = np.arange(matrix.nnz) - matrix.indptr[owner] < counts[owner]
    ends = np.concatenate([[0], np.cumsum(counts)])
    return csr_array((matrix.data[kept], matrix.indices[kept], ends), shape=matrix.shape)


def components(count: int, pairs: np.ndarray) -> np.ndarray:
    """Group number of each of `count` items, int64 of shape (count,), where `pairs`, int64 (m, 2), connect; numbered by first
    member."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), dtype=np.int8), tuple(pairs.T)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)
