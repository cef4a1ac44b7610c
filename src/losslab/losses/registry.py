"""The names, sources and properties of all losses; imports no torch."""

from dataclasses import dataclass, field
from typing import Any, Literal

from losslab.errors import InputError, quote
from losslab.losses import options
from losslab.plugins.manifest import PluginEntry, explain_unknown, find_entry, find_plugins
from losslab.plugins.options import build_schema

LossKind = Literal["pixel", "region", "boundary", "structure", "regulariser", "plug-in"]


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """All there is to know of a loss without building it.

    >>> LOSSES["focal"].defaults
    {'gamma': 2.0, 'alpha': None}
    """

    name: str
    kind: LossKind
    target: str
    """`module:class` below losslab.losses; the class takes (num_classes, ignore_index, **options). A plug-in's is
    `path:name` or `package.module:name`."""
    options: type[options.Options]
    summary: str
    formula: str
    """LaTeX, with z logit, p probability, y truth, TP = Σpy, FP = Σp(1-y), FN = Σ(1-p)y."""
    paper: str
    url: str
    absent: str
    """What happens to a class that is absent from the truth."""
    partner: str | None = None
    """An expression to use it in, for a loss that does not stand alone."""
    cost: str | None = None
    """Why a step may take more than three times as long as cross entropy's."""
    binary: str = "sigmoid"
    multiclass: str = "softmax"
    """What turns logits into probabilities for binary and for multiclass data, or what stands in for it."""
    instead: str | None = None
    """The loss to take for overlapping classes, where this one weighs each class against the others; None: it may be taken."""
    by_design: dict[str, str] = field(default_factory=dict)
    """Check of `losslab losses check` that the loss does not pass → why it is not meant to."""

    @property
    def stands_alone(self) -> bool:
        return self.partner is None

    @property
    def expression(self) -> str:
        """What to write as `loss` in params.yaml."""
        return self.partner or self.name

    @property
    def defaults(self) -> dict[str, Any]:
        return self.options().model_dump()

    @property
    def meanings(self) -> dict[str, str]:
        """What each option means."""
        return {name: field.description or "" for name, field in self.options.model_fields.items()}

    def describe(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return {
            **{key: getattr(self, key) for key in ("name", "kind", "summary", "formula", "paper", "url")},
            "options": self.defaults,
            "meanings": self.meanings,
            **{key: getattr(self, key) for key in ("binary", "multiclass", "stands_alone", "expression")},
            "absent_class": self.absent,
            "overlapping_classes": self.instead is None,
            "cost": self.cost,
        }


def _identify(
    name: str, kind: LossKind, target: str, options: type[options.Options] = options.NoOptions
) -> dict[str, Any]:
    return {"name": name, "kind": kind, "target": target, "options": options}


def _cite(paper: str, number: str) -> dict[str, Any]:
    """Return a paper and its address, from its DOI or, without a slash, its number at arXiv."""
    return {"paper": paper, "url": f"https://{'doi.org' if '/' in number else 'arxiv.org/abs'}/{number}"}


_PRESENT = "left out of the mean; probability given to it is missing elsewhere (binary: the background's loss counts)"
_SPECS = [
    LossSpec(
        **_identify("cross_entropy", "pixel", "pixelwise:CrossEntropy", options.CrossEntropyOptions),
        summary="softmax cross entropy over classes; with one logit, binary cross entropy",
        formula=r"-\frac{1}{\sum_i w_{y_i}} \sum_i w_{y_i} \log p_{i,y_i}",
        **_cite("Szegedy et al. 2016 (label smoothing); Eigen & Fergus 2015 (median frequency)", "1512.00567"),
        instead="bce",
        absent="adds nothing of its own; predicting it costs the pixels' true classes",
        by_design={"mean of images": "with class_weights, the weighted mean is over the pixels of the batch"},
    ),
    LossSpec(
        **_identify("bce", "pixel", "pixelwise:BinaryCrossEntropy", options.BceOptions),
        summary="binary cross entropy with logits; over several classes, one against the rest",
        formula=r"\frac{1}{NC} \sum_{i,c} \left[ z - z y + \log\left(1 + e^{-z}\right) \right]",
        **_cite("Szegedy et al. 2016 (label smoothing)", "1512.00567"),
        absent="counts: pushed down at every pixel",
        multiclass="sigmoid for each class",
    ),
    LossSpec(
        **_identify("focal", "pixel", "focal:Focal", options.FocalOptions),
        summary="cross entropy with easy pixels turned down by (1 - p_t)^gamma, softmax over classes",
        formula=r"-\frac{1}{N} \sum_i \alpha_t \left(1 - p_t\right)^{\gamma} \log p_t",
        **_cite("Lin et al. 2017", "1708.02002"),
        instead="focal_ovr",
        absent="adds nothing of its own; predicting it costs the pixels' true classes",
    ),
    LossSpec(
        **_identify("focal_ovr", "pixel", "focal:FocalOvr", options.FocalOvrOptions),
        summary="focal loss of each class against the rest, with sigmoids, as smp's",
        formula=r"-\frac{1}{NC} \sum_{i,c} \alpha_t \left(1 - \sigma_t\right)^{\gamma} \log \sigma_t",
        **_cite("Lin et al. 2017", "1708.02002"),
        absent="counts: pushed down at every pixel",
        multiclass="sigmoid for each class",
    ),
    LossSpec(
        **_identify("topk_cross_entropy", "pixel", "pixelwise:TopKCrossEntropy", options.TopKOptions),
        summary="cross entropy of the hardest k % of pixels (OHEM)",
        formula=r"-\frac{1}{|H|} \sum_{i \in H} \log p_{i,y_i}, \quad H = \text{hardest } k\,\%",
        **_cite("Wu et al. 2016", "1605.06885"),
        instead="bce",
        absent="adds nothing of its own; predicting it makes pixels hard",
        by_design={"mean of images": "the hardest pixels are those of the batch"},
    ),
    LossSpec(
        **_identify("dice", "region", "region:Dice", options.RegionOptions),
        summary="1 - soft Dice, per image, over the classes that are present in it",
        formula=r"1 - \frac{2 \sum p y + s}{\sum p + \sum y + s}",
        **_cite("Milletari et al. 2016 (there with squares in the denominator)", "1606.04797"),
        absent=_PRESENT,
    ),
    LossSpec(
        **_identify("generalized_dice", "region", "region:GeneralizedDice", options.RegionOptions),
        summary="Dice of all classes at once, each weighted by 1 / (its area)²",
        formula=r"1 - \frac{2 \sum_c w_c \sum p y + s}{\sum_c w_c \left(\sum p + \sum y\right) + s}, \quad "
        r"w_c = \frac{1}{\left(\sum y\right)^2}",
        **_cite("Sudre et al. 2017", "1707.03237"),
        instead="dice",
        absent="takes the largest weight of those present, so a false positive costs",
    ),
    LossSpec(
        **_identify("jaccard", "region", "region:Jaccard", options.RegionOptions),
        summary="1 - soft IoU, per image, over the classes that are present in it",
        formula=r"1 - \frac{TP + s}{TP + FP + FN + s}",
        **_cite("Rahman & Wang 2016", "10.1007/978-3-319-50835-1_22"),
        absent=_PRESENT,
    ),
    LossSpec(
        **_identify("tversky", "region", "region:Tversky", options.TverskyOptions),
        summary="Dice with weights of its own for false positives (alpha) and false negatives (beta)",
        formula=r"1 - \frac{TP + s}{TP + \alpha FP + \beta FN + s}",
        **_cite("Salehi et al. 2017", "1706.05721"),
        absent=_PRESENT,
    ),
    LossSpec(
        **_identify("focal_tversky", "region", "region:FocalTversky", options.FocalTverskyOptions),
        summary="a root of the Tversky loss, so that nearly right regions go on counting; alpha is on false negatives",
        formula=r"\left(1 - \frac{TP + s}{TP + \alpha FN + \beta FP + s}\right)^{1/\gamma}",
        **_cite("Abraham & Khan 2019", "1810.07842"),
        absent=_PRESENT,
    ),
    LossSpec(
        **_identify("lovasz", "region", "lovasz:Lovasz", options.LovaszOptions),
        summary="the convex extension of the Jaccard loss: Lovász-Softmax, or the hinge with one logit",
        formula=r"\sum_i m_{\pi(i)} \left[ \Delta_J\left(\pi_1 \dots \pi_i\right) - "
        r"\Delta_J\left(\pi_1 \dots \pi_{i-1}\right) \right], \quad m_{\pi(1)} \geq m_{\pi(2)} \geq \dots",
        **_cite("Berman et al. 2018; Yu & Blaschko 2015", "1705.08790"),
        absent="left out; probability given to it is missing elsewhere (hinge, empty mask: the largest error counts)",
        cost="it sorts the pixels of every class",
        binary="hinge",
    ),
    LossSpec(
        **_identify("mcc", "region", "mcc:Mcc", options.MccOptions),
        summary="1 - Matthews correlation of soft counts, which values true negatives too",
        formula=r"1 - \frac{TP \cdot TN - FP \cdot FN}{\sqrt{(TP+FP)(TP+FN)(TN+FP)(TN+FN)}}",
        **_cite("Abhishek & Hamarneh 2021", "2010.13454"),
        absent="left out of the mean; where the truth is all one class, the mean error |p - y| counts",
    ),
    LossSpec(
        **_identify("unified_focal", "region", "unified_focal:UnifiedFocal", options.UnifiedFocalOptions),
        summary="focal cross entropy and focal Tversky under one gamma and delta; class 0 is the background, which alone has "
        "the first power, while the foreground alone has the second (asymmetric: false gives all classes both)",
        formula=r"\lambda\, \delta_c \left(1 - p_t\right)^{\gamma} \left(-\log p_t\right) + "
        r"(1 - \lambda) \left(1 - \frac{TP + s}{TP + \delta FN + (1 - \delta) FP + s}\right)^{1 - \gamma}",
        **_cite("Yeung et al. 2022", "2102.04525"),
        instead="focal_tversky",
        absent="left out of Tversky's mean; the background and cross entropy carry it",
        cost="two losses in one",
    ),
    LossSpec(
        **_identify("boundary", "boundary", "distance:Boundary"),
        summary="probability weighted by the signed distance to the true border, in pixels; negative when right",
        formula=r"\frac{1}{NC} \sum_{i,c} \varphi_{i,c}\, p_{i,c}, \quad \varphi < 0 \text{ inside}",
        **_cite("Kervadec et al. 2019", "1812.07032"),
        absent="a map of zeros: a false positive costs nothing, its partner must see it",
        partner="dice+0.01:0.1*boundary",
        cost="exact distance transforms, on the CPU",
    ),
    LossSpec(
        **_identify("hausdorff", "boundary", "distance:Hausdorff", options.HausdorffOptions),
        summary="squared errors weighted by their distance to the predicted and the true border",
        formula=r"\frac{1}{NC} \sum_{i,c} (p - y)^2 \left(d_p^{\alpha} + d_y^{\alpha}\right)",
        **_cite("Karimi & Salcudean 2019", "1904.10030"),
        absent="distances to the predicted border alone; a full one has no border and costs nothing",
        partner="dice+hausdorff",
        cost="exact distance transforms, on the CPU",
    ),
    LossSpec(
        **_identify("correlation", "structure", "windowed:Correlation", options.CorrelationOptions),
        summary="cross entropy where local structure correlates badly (CMSSL)",
        formula=r"\frac{\sum e f\, CE}{\sum f}, \quad e = \left| \frac{y - \mu_y + c}{\sigma_y + c} - "
        r"\frac{p - \mu_p + c}{\sigma_p + c} \right|, \quad f = \left[ e > \beta e_{max} \right]",
        **_cite("Zhao et al. 2019", "1910.08711"),
        instead="ssim",
        absent="counts where the prediction of it has structure; a flat false positive costs nothing",
        partner="cross_entropy+correlation",
        by_design={"mean of images": "the mean is over the pixels of the batch that count"},
        cost="local means and deviations of every class",
    ),
    LossSpec(
        **_identify("ssim", "structure", "windowed:Ssim", options.SsimOptions),
        summary="1 - structural similarity of probability and truth maps",
        formula=r"1 - \frac{\left(2 \mu_p \mu_y + C_1\right) \left(2 \sigma_{py} + C_2\right)}"
        r"{\left(\mu_p^2 + \mu_y^2 + C_1\right) \left(\sigma_p^2 + \sigma_y^2 + C_2\right)}",
        **_cite("Wang et al. 2004; as a loss: Qin et al. 2019 (BASNet)", "10.1109/TIP.2003.819861"),
        absent="counts, but a confident false positive has almost no gradient",
        partner="cross_entropy+ssim",
        cost="local means of every class, forth and back",
    ),
    LossSpec(
        **_identify("cldice", "structure", "cldice:ClDice", options.ClDiceOptions),
        summary="Dice of soft centre lines: keeps thin things connected",
        formula=r"1 - \frac{2\, T_{prec}\, T_{sens}}{T_{prec} + T_{sens}}, \quad "
        r"T_{prec} = \frac{\sum S_p y + s}{\sum S_p + s}, \quad T_{sens} = \frac{\sum S_y p + s}{\sum S_y + s}",
        **_cite("Shit et al. 2021", "2003.07311"),
        absent="counts by its skeleton; a flat one has none and costs nothing",
        partner="dice+cldice",
        cost="erosions and dilations of every class",
    ),
    LossSpec(
        **_identify("topology", "structure", "topology:Topology", options.TopologyOptions),
        summary="matches persistence diagrams: the right number of components and holes",
        formula=r"\sum_{q \in Dgm(p)} \left[ b_q - b_{\gamma^*(q)} \right]^2 + \left[ d_q - d_{\gamma^*(q)} \right]^2",
        **_cite("Hu et al. 2019", "1906.05404"),
        absent="its highest probability and each of its components cost",
        partner="cross_entropy+0:0.01*topology",
        cost="persistent homology of each class and patch, on the CPU: very slow",
    ),
    LossSpec(
        **_identify("total_variation", "regulariser", "total_variation:TotalVariation"),
        summary="length of the borders in the probabilities, whatever the truth",
        formula=r"\frac{1}{NC} \sum_{i,c} \sqrt{(\partial_x p)^2 + (\partial_y p)^2}",
        **_cite("Rudin, Osher & Fatemi 1992; in segmentation: arXiv 1605.01368", "10.1016/0167-2789(92)90242-F"),
        absent="only the border of what is predicted costs",
        partner="cross_entropy+0.01*total_variation",
        cost="differences and a root for every class",
    ),
]
LOSSES: dict[str, LossSpec] = {spec.name: spec for spec in _SPECS}


def available() -> list[str]:
    """List the names that a loss expression may use: losslab's, and those of plug-ins.

    >>> available()[:3]
    ['cross_entropy', 'bce', 'focal']
    """
    return list(list_losses())


def list_losses() -> dict[str, LossSpec]:
    """Return all losses by name, a project's own included."""
    return LOSSES | {name: _specify_plugin(entry) for name, entry in find_plugins().select("loss").items()}


def find_loss(name: str, expression: str | None = None) -> LossSpec:
    """Return the facts about a loss. Raises InputError for an unknown name, and for a plug-in with one of losslab's.

    Args:
        expression: what it is part of, for the error.
    """
    entry = find_entry("loss", name, LOSSES)
    if name in LOSSES:
        return LOSSES[name]
    if entry is None:
        place = f" in {quote(expression)}" if expression is not None else ""
        listed = f" (available: {', '.join(available())})"
        raise InputError(explain_unknown(f"loss: no such loss: {quote(name)}{place}{listed}", name, available()))
    return _specify_plugin(entry)


def _specify_plugin(entry: PluginEntry) -> LossSpec:
    facts = {key: value for key, value in entry.facts.items() if value is not None}
    return LossSpec(
        name=entry.name,
        kind="plug-in",
        target=f"{entry.origin}:{entry.attribute}",
        options=build_schema(f"{entry.name}_options", entry.options, options.Options),
        summary=entry.summary,
        **{"paper": "", "url": "", "formula": "", "absent": "", **facts},
    )
