"""What a model's file is, by its first bytes: a name proves nothing."""

from __future__ import annotations

import io
import zipfile

from refusal import Refused, shown

XGBOOST, ONNX, SKOPS, ARTIFACT = KINDS = ("xgboost", "onnx", "skops", "artifact")
_ALLOWED = (
    "allowed: XGBoost's .json or .ubj (Booster.save_model), .onnx, .skops (skops.io.dump), or a model.tar.gz of this "
    "project"
)
_PICKLE = (
    "it is a pickle, and opening one runs whatever is in it; nothing here does. Save the model by skops.io.dump "
    "(scikit-learn), Booster.save_model (XGBoost) or as ONNX"
)
_OTHERS = {
    b"\x89HDF": "HDF5 (Keras)",
    b"binf": "XGBoost's old binary format",
    b"tree\nver": "LightGBM's text format",
    b"PAR1": "Parquet",
    b"MZ": "a program",
    b"\x7fELF": "a program",
    b"cbm1": "CatBoost's binary format",
}
#: zlib and other streams of joblib, which hold pickles.
_PACKED = (
    b"\x78\x01",
    b"\x78\x5e",
    b"\x78\x9c",
    b"\x78\xda",
    b"BZh",
    b"\xfd7zXZ",
    b"\x5d\x00\x00",
    b"\x04\x22M\x18",
)
_PROTOCOL_0 = (
    b"ccopy_reg",
    b"c__builtin__",
    b"cbuiltins",
    b"cos\n",
    b"cposix\n",
    b"(lp",
    b"(dp",
    b"csklearn",
    b"cnt\n",
)


def kind_of(content: bytes, wanted: str | None) -> str:
    """Tell what a file is.

    :param wanted: what whoever imports says that it is; None for what it is.
    :raises Refused: it is of no kind that is taken, or of another one.
    """
    kind = _kind(content)
    if wanted is not None and wanted not in KINDS:
        raise Refused(f"--format: got '{shown(wanted)}'; allowed: {', '.join(KINDS)}")
    if wanted is not None and kind != wanted:
        raise Refused(f"it is of format {kind}, not {wanted}: leave --format out, or give another file")
    return kind


def _kind(content: bytes) -> str:
    if (content[:1] == b"\x80" and content[1:2] in b"\x02\x03\x04\x05") or content.startswith(_PROTOCOL_0):
        raise Refused(_PICKLE)
    if content.startswith(_PACKED):
        raise Refused(f"it is a packed stream, as joblib writes pickles: {_PICKLE}")
    for mark, name in _OTHERS.items():
        if content.startswith(mark):
            raise Refused(f"it is {name}; {_ALLOWED}. Save it as one of these")
    if content.startswith(b"\x1f\x8b"):
        return ARTIFACT
    if content.startswith(b"PK"):
        return _zip_kind(content)
    if content.lstrip()[:1] == b"{":
        return XGBOOST
    if content[:1] == b"\x08" and content[1:2] <= b"\x20":  # ir_version, the first field of ONNX's ModelProto
        return ONNX
    raise Refused(f"it is of no kind that is known (it begins with {shown(repr(content[:8]))}); {_ALLOWED}")


def _zip_kind(content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            names = file.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise Refused(
            f"it begins as a zip archive and can't be read as one ({shown(error)}); {_ALLOWED}"
        ) from None
    if any(name.endswith("data.pkl") for name in names):
        raise Refused(f"it is PyTorch's archive of a pickle: {_PICKLE}")
    if "schema.json" not in names:
        raise Refused(f"it is a zip archive without schema.json, so skops has not written it; {_ALLOWED}")
    return SKOPS
