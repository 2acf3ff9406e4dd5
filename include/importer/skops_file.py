"""A scikit-learn estimator in skops' format: looked through by a list of types, and loaded only then.

skops has a list of its own and is asked as well. This one is shorter: what can be turned into plain arrays, and what
such estimators consist of.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from typing import Any

import sklearn
import skops
import skops.io

from city import City
from converted import Converted
from job_failure import listed
from refusal import Refused, shown
from sklearn_models import convert_estimator

MOST_MEMBERS = 60_000
MOST_UNPACKED_BYTES = 512 << 20
MOST_SCHEMA_BYTES = 64 << 20
_MOST_DEPTH = 60
_LOADERS = {
    *("DictNode", "ListNode", "TupleNode", "SetNode", "JsonNode", "TypeNode", "SliceNode", "CachedNode"),
    *(
        "NdArrayNode",
        "DTypeNode",
        "RandomStateNode",
        "RandomGeneratorNode",
        "ObjectNode",
        "LossNode",
        "TreeNode",
    ),
}
_MODULES = {
    "builtins": {"dict", "list", "tuple", "set", "str", "int", "float", "bool", "NoneType", "slice"},
    "numpy": {
        *(
            "ndarray",
            "dtype",
            "float64",
            "float32",
            "int64",
            "int32",
            "int16",
            "int8",
            "bool",
            "bool_",
            "str_",
        ),
        *("uint64", "uint32", "uint16", "uint8"),
    },
    "numpy.random.mtrand": {"RandomState"},
    "numpy.random._generator": {"Generator"},
    "collections": {"OrderedDict", "defaultdict"},
    "_loss": {
        *(
            "CyAbsoluteError",
            "CyExponentialLoss",
            "CyHalfBinomialLoss",
            "CyHalfGammaLoss",
            "CyHalfMultinomialLoss",
        ),
        *("CyHalfPoissonLoss", "CyHalfSquaredError", "CyHuberLoss", "CyPinballLoss"),
    },
    "sklearn._loss.link": {
        *("IdentityLink", "Interval", "LogLink", "LogitLink", "HalfLogitLink", "MultinomialLogit"),
    },
    "sklearn._loss.loss": {
        *("AbsoluteError", "ExponentialLoss", "HalfBinomialLoss", "HalfGammaLoss", "HalfMultinomialLoss"),
        *("HalfPoissonLoss", "HalfSquaredError", "HuberLoss", "PinballLoss"),
    },
    "sklearn.dummy": {"DummyClassifier", "DummyRegressor"},
    "sklearn.ensemble._forest": {
        *("RandomForestRegressor", "RandomForestClassifier", "ExtraTreesRegressor", "ExtraTreesClassifier"),
    },
    "sklearn.ensemble._gb": {"GradientBoostingRegressor", "GradientBoostingClassifier"},
    "sklearn.ensemble._hist_gradient_boosting.binning": {"_BinMapper"},
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting": {
        *("HistGradientBoostingRegressor", "HistGradientBoostingClassifier"),
    },
    "sklearn.ensemble._hist_gradient_boosting.predictor": {"TreePredictor"},
    "sklearn.impute._base": {"SimpleImputer"},
    "sklearn.linear_model._base": {"LinearRegression"},
    "sklearn.linear_model._bayes": {"BayesianRidge", "ARDRegression"},
    "sklearn.linear_model._coordinate_descent": {"Lasso", "LassoCV", "ElasticNet", "ElasticNetCV"},
    "sklearn.linear_model._huber": {"HuberRegressor"},
    "sklearn.linear_model._least_angle": {"Lars", "LassoLars", "LarsCV", "LassoLarsCV", "LassoLarsIC"},
    "sklearn.linear_model._logistic": {"LogisticRegression", "LogisticRegressionCV"},
    "sklearn.linear_model._ridge": {"Ridge", "RidgeCV"},
    "sklearn.linear_model._stochastic_gradient": {"SGDRegressor", "SGDClassifier"},
    "sklearn.linear_model._theil_sen": {"TheilSenRegressor"},
    "sklearn.metrics._dist_metrics": {"EuclideanDistance64"},
    "sklearn.neighbors._ball_tree": {"BallTree"},
    "sklearn.neighbors._classification": {"KNeighborsClassifier"},
    "sklearn.neighbors._kd_tree": {"KDTree"},
    "sklearn.neighbors._regression": {"KNeighborsRegressor"},
    "sklearn.neural_network._multilayer_perceptron": {"MLPRegressor", "MLPClassifier"},
    "sklearn.neural_network._stochastic_optimizers": {"AdamOptimizer", "SGDOptimizer"},
    "sklearn.pipeline": {"Pipeline"},
    "sklearn.preprocessing._data": {"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler"},
    "sklearn.preprocessing._label": {"LabelBinarizer", "LabelEncoder"},
    "sklearn.svm._classes": {"LinearSVR"},
    "sklearn.tree._classes": {
        *("DecisionTreeRegressor", "DecisionTreeClassifier", "ExtraTreeRegressor", "ExtraTreeClassifier"),
    },
    "sklearn.tree._tree": {"Tree"},
}
_ALLOWED = {f"{module}.{name}" for module, names in _MODULES.items() for name in names}


def convert_skops(content: bytes, city: City) -> Converted:
    """Take an estimator.

    :param content: the file's bytes.
    :raises Refused: it holds what is not on the list, or can't be turned into plain arrays.
    """
    _look_through(content)
    libraries = {"scikit-learn": sklearn.__version__, "skops": skops.__version__}
    try:
        foreign = [name for name in skops.io.get_untrusted_types(data=content) if name not in _ALLOWED]
        if foreign:
            raise Refused(_foreign(foreign))
        trusted = skops.io.get_untrusted_types(data=content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other versions: whether answers are the same is found out
            model = skops.io.loads(content, trusted=trusted)
            return convert_estimator(model, city, libraries)
    except (Refused, MemoryError):
        raise
    except Exception as error:  # whatever scikit-learn does with what it never wrote
        raise Refused(
            f"scikit-learn {sklearn.__version__} can't make a model of it ({type(error).__name__}: "
            f"{shown(error)}). Save "
            "a fitted estimator by skops.io.dump, of the same version if you can"
        ) from None


def _look_through(content: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            members = file.infolist()
            size = sum(member.file_size for member in members)
            if len(members) > MOST_MEMBERS or size > MOST_UNPACKED_BYTES:
                raise Refused(
                    f"it unpacks to {len(members)} files of {size} bytes; allowed: {MOST_MEMBERS} files of "
                    f"{MOST_UNPACKED_BYTES} bytes together"
                )
            for member in members:
                if member.filename != "schema.json" and not member.filename.endswith(".npy"):
                    raise Refused(
                        f"it holds a file {shown(member.filename)!r}; allowed: schema.json and .npy"
                    )
                if (
                    ".." in member.filename
                    or member.filename.startswith(("/", "\\"))
                    or ":" in member.filename
                ):
                    raise Refused(f"its file {shown(member.filename)!r} leads out of it")
            schema = file.getinfo("schema.json")
            if schema.file_size > MOST_SCHEMA_BYTES:
                raise Refused(f"its schema.json has {schema.file_size} bytes; allowed: {MOST_SCHEMA_BYTES}")
            document = json.loads(file.read(schema))
    except (
        ValueError,
        OSError,
        KeyError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        zipfile.BadZipFile,
    ) as error:
        if isinstance(error, Refused | RecursionError):
            raise
        raise Refused(
            f"it can't be read as a skops file ({shown(error)}); allowed: what skops.io.dump writes"
        ) from None
    foreign: dict[str, None] = {}
    _walk(document, foreign, 0)
    if foreign:
        raise Refused(_foreign(list(foreign)))


def _walk(node: Any, foreign: dict[str, None], depth: int) -> None:
    if depth > _MOST_DEPTH:
        raise Refused(f"it is nested deeper than {_MOST_DEPTH} levels, far more than an estimator is")
    if isinstance(node, list):
        for each in node:
            _walk(each, foreign, depth + 1)
    if not isinstance(node, dict):
        return
    if "__loader__" in node or "__class__" in node:
        name = f"{node.get('__module__')}.{node.get('__class__')}"
        loader = node.get("__loader__")
        if loader not in _LOADERS:
            foreign[f"{name} (a {shown(loader)})"] = None
        elif name not in _ALLOWED and loader != "CachedNode":
            foreign[name] = None
    for each in node.values():
        _walk(each, foreign, depth + 1)


def _foreign(names: list[str]) -> str:
    return (
        f"it holds {listed([shown(name) for name in names], 5)}, which is not on the list of what is "
        "loaded; allowed: "
        "linear models, trees, forests, gradient boosting, MLPs and nearest neighbours of "
        "scikit-learn, in a Pipeline with "
        "scalers and a SimpleImputer"
    )
