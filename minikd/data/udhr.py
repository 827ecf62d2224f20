"""Language identification: 26 languages in European scripts, from short pieces of one text that exists in all of them.

The Universal Declaration of Human Rights has a preamble and 30 articles, translated into hundreds of languages. We cut
windows of WINDOW characters from 26 translations, and the task is to name the language of each. Related languages such
as Danish and Norwegian, or Czech and Slovak, are easily confused. A teacher can pass this on to a student.

An MLP needs vectors, so a window becomes counts of its n-grams, the pieces of 1, 2 and 3 characters in it. There are
far too many different ones for a column each. So a hash function assigns each of them to one of FEATURES columns, and
n-grams with the same hash share a column (Weinberger et al. 2009).

The split is by article, with the same articles in all languages, because translations of one sentence share names and
loan words. Windows never cross articles. Legal texts repeat themselves ("everyone has the right to"), so a few windows
occur in two articles. Such a window stays in the test part, or else in the validation part, and is removed from the
others. No window is in two parts.
"""

from __future__ import annotations

import unicodedata

import numpy as np
from numpy.typing import NDArray

from .dataset import Data, Dataset, Floats, split_rows
from .download import RemoteFile, read

WINDOW = 24  # characters
FEATURES = 1024
N_GRAMS = (1, 2, 3)
COMMIT = "f93dd614154c47fc4b85ec03d8d6f1abe97869ef"
URL = f"https://raw.githubusercontent.com/eric-muller/udhr/{COMMIT}/data/udhr/"
LANGUAGES = {  # code of the translation: name, and SHA-256 of the file
    "afr": ("Afrikaans", "f26374f798320bfecffe1842b12c381ab5296d2e2ba3ab454d95e44d37ccd67b"),
    "cat": ("Catalan", "fbae2957ce6e4f4d65044a9965403c95145c9f95923585d2b801b05d374d21d8"),
    "ces": ("Czech", "a7788842d3b26666cb8299bea5a82913b12ef586494089fcaa4cbbe9c7c2aedf"),
    "dan": ("Danish", "e576b062b862b33f795607e9ce15e414d0e0a7e4ec1b862395f63473b3406d00"),
    "deu_1996": ("German", "c9cdfc09db8e9dac2f6571a51a87178c6d8bce80f0db888ca23fdf002179a917"),
    "eng": ("English", "df73275821449df4db2b164e59bda812c834d80cacc8792a6f41d6fc331ce204"),
    "est": ("Estonian", "2bb930e05fac669aea8d6aca8b07d355aa86381517bd6df26fa07862625b2f6a"),
    "eus": ("Basque", "59d51d1c84f26c4826caa7d183fa3f708fb8af9c362c7e6e7f54228cd1deb105"),
    "fin": ("Finnish", "08d70e353f873aaa8d7563bc04d508dcca6281af513ef94614d4fa64bd3fb3e3"),
    "fra": ("French", "d8c5970618f276065532f7aee7467e0dde3dda7fb4e5e38ea925466067e1515d"),
    "glg": ("Galician", "8cd0191f959691c3400a9629ea46152439f08c3a9811e280505fefc9dd601752"),
    "hrv": ("Croatian", "83f7d07e49f0b8be356fb76f82506a58513ad72c700e36a280999932b054cfc2"),
    "hun": ("Hungarian", "f28144225aa49d73d3b1bc68c50061f6cfbaad3f79868d5b4a09158ee00836c9"),
    "ind": ("Indonesian", "4b5912c7b594878bd38719571ff29eea2d42e6e56c2a51e3145afd8e60e07569"),
    "isl": ("Icelandic", "0c94224fc19987dee6952eef723ac97f830f18d2390b5a8aac929ddb2deb5c07"),
    "ita": ("Italian", "c4d03506dadff0c1ad5e57dffea44a062739752f7019a9d93aa3d449d2f8f8ff"),
    "nld": ("Dutch", "aee494f1485f163a8c8e5a5d7a8849778c7e37999d3b9a62fede8ce49fc8b107"),
    "nob": ("Norwegian", "fdeb0f9081735b337cdd2d872a397a950077b2d55950fe15a11ffd54b95511a3"),
    "pol": ("Polish", "12716a61c3a279c3f361ff621f0f01067ec8a340f6481bac7b234345b43928b3"),
    "por_PT": ("Portuguese", "44ae42b32b26774c2db781da9031a9579559fb22b226714a0b9a9e5b4e1393fc"),
    "ron_2006": ("Romanian", "aefbb8c5837472da4bcd35db12cf9fd64b199add883c9a24fc4e1100c6ed99b7"),
    "slk": ("Slovak", "e8221738fddddab99aef6de0283231af00b1294f3a8a37d7bcb9d48f9b7f7966"),
    "slv": ("Slovenian", "802b5c8b91b6b1bb3b3f44bad05ad4c9ffde0005a9659b750b244e410d698d86"),
    "spa": ("Spanish", "64d56ed9fe6c5a40183319f5139be106f2f78a097e39d7652f5c59973e25fc04"),
    "swe": ("Swedish", "1f94adf8c312ad6a906303627152b889701394b009ef32f087336549799d416e"),
    "tur": ("Turkish", "62131873664c76ba30592ccb5b2cfc0ade4bf5dbec57dffdeae4c9fbeb375118"),
}
FILES = tuple(
    RemoteFile(f"udhr/udhr_{code}.xml", (f"{URL}udhr_{code}.xml",), sha256) for code, (_, sha256) in LANGUAGES.items()
)
# The part of each text by its number modulo 5. The preamble is number 0. Of all 31, 19 are for training, 6 and 6.
PARTS = ("train", "train", "val", "train", "test")


def articles(xml: bytes) -> list[str]:
    """The 31 texts of a translation, preamble first: paragraphs in lower case, joined by single spaces.

    Titles are left out ("Article 1" identifies the number rather than the language), and so are translators' notes.
    """
    from xml.etree import ElementTree

    space = "{http://efele.net/udhr}"
    texts = []
    for part in ElementTree.fromstring(xml):
        if part.tag in (f"{space}preamble", f"{space}article"):
            text = " ".join("".join(paragraph.itertext()) for paragraph in part.iter(f"{space}para"))
            texts.append(unicodedata.normalize("NFC", " ".join(text.split())).lower())
    return texts


def windows(text: str, step: int) -> NDArray[np.uint32]:
    """All whole windows of a text that start at a multiple of `step`: (number, WINDOW), each character as its code."""
    codes = np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.uint32)
    if len(codes) < WINDOW:
        return np.zeros((0, WINDOW), np.uint32)
    return np.lib.stride_tricks.sliding_window_view(codes, WINDOW)[::step]


def hash_n_grams(codes: NDArray[np.uint32]) -> Floats:
    """Windows (N, W) of character codes -> square roots of hashed n-gram counts, (N, FEATURES).

    The hash is 32-bit FNV-1a over character codes instead of bytes: start with h = 2166136261, and for each character c
    set h = (h xor c) · 16777619 mod 2^32. The column is (h xor (h >> 16)) mod FEATURES. Python's own hash() differs
    from run to run; this one is the same everywhere. Square roots are taken because the third "e" says less than the
    first. They also give every row the same squared length, its number of n-grams (69 for the windows here).
    """
    rows, width = codes.shape
    counts = np.zeros((rows, FEATURES), np.float32)
    first = FEATURES * np.arange(rows)[:, None]  # where each row starts in the flat counts
    for n in N_GRAMS:
        h = np.full((rows, width - n + 1), 2166136261, np.uint32)
        for i in range(n):
            h = (h ^ codes[:, i : width - n + 1 + i]) * np.uint32(16777619)
        columns = (h ^ (h >> 16)) % FEATURES  # (rows, width - n + 1)
        counts += np.bincount((first + columns).ravel(), minlength=counts.size).reshape(counts.shape)
    return np.sqrt(counts)


def load_windows() -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.str_]]:
    """Every window (N, WINDOW) as character codes, its language (N,) and its part (N,), "train", "val" or "test".

    Training windows overlap by half. The others do not overlap, so that each counts as a separate sample. DataError if
    the files cannot be downloaded.
    """
    pieces, languages, parts = [], [], []
    for language, file in enumerate(FILES):
        for number, text in enumerate(articles(read(file))):
            part = PARTS[number % len(PARTS)]
            piece = windows(text, WINDOW // 2 if part == "train" else WINDOW)
            pieces.append(piece)
            languages += [language] * len(piece)
            parts += [part] * len(piece)
    codes, split = np.concatenate(pieces), np.array(parts)
    keep = _in_one_part(codes, split)
    return codes[keep], np.array(languages, np.int64)[keep], split[keep]


def _in_one_part(codes: NDArray[np.uint32], split: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Which windows (N, WINDOW) to keep so that none is in two parts: test goes before val, and val before train."""
    _, same = np.unique(codes, axis=0, return_inverse=True)  # (N,), equal where windows are equal
    same = same.reshape(-1)
    in_test = np.isin(same, same[split == "test"])
    in_val = np.isin(same, same[split == "val"])
    keep: NDArray[np.bool_] = (
        (split == "test") | ((split == "val") & ~in_test) | ((split == "train") & ~in_test & ~in_val)
    )
    return keep


def load() -> Data:
    """Languages: x (N, FEATURES) square roots of hashed n-gram counts; y the language, 0 to 25.

    DataError if the files cannot be downloaded.

    Source: the collection of E. Muller, efele.net/udhr.
    """
    codes, y, split = load_windows()
    names = tuple(name for name, _ in LANGUAGES.values())
    return Data(*split_rows(hash_n_grams(codes), y, split), class_names=names, image_shape=None)


def test_texts() -> list[str]:
    """The windows of the test part as text, one for each row of x_test. DataError as in `load`."""
    codes, _, split = load_windows()
    return ["".join(map(chr, window)) for window in codes[split == "test"].tolist()]


DATASET = Dataset(
    summary="language identification, windows of 24 characters as 1,024 hashed n-gram counts, 26 languages (0.5 MB)",
    source="https://github.com/eric-muller/udhr",
    licence="free to use (text of the United Nations; terms of the collection at http://efele.net/udhr)",
    citation="United Nations: Universal Declaration of Human Rights (1948), in the XML collection of E. Muller",
    files=FILES,
    load=load,
    noun="texts",
    test_texts=test_texts,
)
