"""Recipes: functions that return a whole config, named after what they reproduce; one module per paper.

PRETRAIN is for `jobs/pretrain_kinetics.py`, FINE_TUNE for `jobs/finetune.py`, TRANSFER for
`jobs/transfer_youtube8m.py`, SWEEP for `jobs/sweep.py`.
"""

import inspect
from collections.abc import Callable
from functools import partial

from pipeline.config import Config, SweepConfig
from pipeline.recipes import demo, folder, modern, non_local, quo_vadis, resnet3d, t3d

Recipe = Callable[[], Config]

RESNETS: tuple[Recipe, ...] = (
    resnet3d.resnet3d18_kinetics,
    resnet3d.resnet3d34_kinetics,
    resnet3d.resnet3d50_kinetics,
    resnet3d.resnet3d101_kinetics,
    resnet3d.resnet3d152_kinetics,
    resnet3d.resnet3d200_kinetics,
    resnet3d.preact_resnet3d200_kinetics,
    resnet3d.wide_resnet3d50_kinetics,
    resnet3d.resnext3d101_kinetics,
    resnet3d.hara_densenet3d121_kinetics,
    resnet3d.hara_densenet3d201_kinetics,
    resnet3d.resnext3d101_64f_kinetics,
)
T3DS: tuple[Recipe, ...] = (
    t3d.t3d121_kinetics,
    t3d.t3d169_kinetics,
    t3d.densenet3d121_kinetics,
    t3d.resnet3d50_t3d_kinetics,
    t3d.inception3d_t3d_kinetics,
    t3d.resnet3d50_ttl_kinetics,
    t3d.inception3d_ttl_kinetics,
)
ARCHITECTURES: tuple[Recipe, ...] = (  # of Quo Vadis, Table 4
    quo_vadis.i3d_kinetics,
    quo_vadis.i3d_imagenet_kinetics,
    quo_vadis.convnet_lstm_kinetics,
    quo_vadis.convnet_lstm_imagenet_kinetics,
    quo_vadis.c3d_kinetics,
    quo_vadis.two_stream_kinetics,
    quo_vadis.two_stream_imagenet_kinetics,
    quo_vadis.two_stream_rgb_imagenet_kinetics,
    quo_vadis.two_stream_flow_imagenet_kinetics,
    quo_vadis.fused_two_stream_kinetics,
    quo_vadis.fused_two_stream_imagenet_kinetics,
    quo_vadis.fused_rgb_imagenet_kinetics,
    quo_vadis.fused_flow_imagenet_kinetics,
)


def _named(*recipes: Recipe) -> dict[str, Recipe]:
    return {recipe.__name__: recipe for recipe in recipes}


def _fine_tunings(
    recipe: Recipe, fine_tuned: Callable[..., Config], *modes: str, suffix: str = ""
) -> dict[str, Recipe]:
    """Return the recipes NETWORK_ucf101 and NETWORK_hmdb51, or one of each per mode, named NETWORK_DATASET_MODE."""
    found: dict[str, Recipe] = {}
    for dataset in ("ucf101", "hmdb51"):
        for mode in modes or (None,):
            name = "_".join(filter(None, (recipe.__name__.removesuffix("_kinetics"), dataset, mode or suffix)))
            found[name] = _recipe(
                name, recipe, partial(fine_tuned, dataset=dataset, **({"mode": mode} if mode else {}))
            )
    return found


def _recipe(name: str, pretrained: Recipe, change: Callable[[Config], Config]) -> Recipe:
    def recipe() -> Config:
        return change(pretrained())

    recipe.__name__ = name
    recipe.__doc__ = f"{name}: {pretrained.__name__}, then: {inspect.getdoc(change.func)}"  # type: ignore[attr-defined]
    return recipe


PRETRAIN: dict[str, Recipe] = _named(
    ARCHITECTURES[0],
    demo.demo,
    folder.resnet3d18_folder,
    folder.i3d_folder,
    *ARCHITECTURES[1:],
    quo_vadis.i3d_rgb_kinetics,
    quo_vadis.i3d_flow_kinetics,
    quo_vadis.two_stream_rgb_kinetics,
    quo_vadis.two_stream_flow_kinetics,
    *T3DS,
    t3d.t3d121_half_kinetics,
    t3d.densenet3d121_half_kinetics,
    t3d.resnet3d50_t3d_half_kinetics,
    *RESNETS,
    resnet3d.resnet3d18_activitynet,
    non_local.i3d_resnet50_non_local,
    modern.i3d_resnet50_modern,
)

FINE_TUNE: dict[str, Recipe] = {
    name: fine_tuning
    for paper in (
        [_fine_tunings(recipe, quo_vadis.fine_tuned, "original", "fixed", "full") for recipe in ARCHITECTURES],
        [_fine_tunings(recipe, t3d.fine_tuned) for recipe in T3DS],
        [_fine_tunings(recipe, resnet3d.fine_tuned) for recipe in RESNETS],
        [_fine_tunings(resnet3d.resnet3d18_kinetics, resnet3d.from_scratch, suffix="scratch")],
    )
    for fine_tunings in paper
    for name, fine_tuning in fine_tunings.items()
} | _named(t3d.t3d121_tsn_ucf101, t3d.t3d121_tsn_hmdb51, folder.resnet3d18_folder_full, folder.i3d_folder_full)

TRANSFER: dict[str, Recipe] = _named(
    t3d.t3d121_youtube8m,
    t3d.densenet3d121_youtube8m,
    t3d.resnet3d50_t3d_youtube8m,
    t3d.inception3d_t3d_youtube8m,
)

SWEEP: dict[str, Callable[[], SweepConfig]] = {
    "i3d_sweep": quo_vadis.i3d_sweep,
    "demo_sweep": demo.demo_sweep,
    "folder_sweep": folder.folder_sweep,
}
