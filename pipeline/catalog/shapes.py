"""Drawing of the clips of `motion_shapes`: textured shapes whose class is their motion and nothing else.

**Why a single frame carries no information.** The state of a clip at frame t is a point on a four-dimensional torus:
position x and y (modulo the frame's size, so a shape that leaves on one side enters on the other), orientation (modulo
a turn) and zoom (modulo three levels, see below). A clip starts at a uniformly random point, and a class is a shift of
one of these coordinates at constant speed. Shifts keep the uniform distribution uniform, so at every t the state, and
with it the frame, has exactly the same distribution in all classes; only the order of frames differs.

**Zoom without a jump.** A shape that only grows would be small at the start and large at the end. So the shapes are
nested like Russian dolls: level k is drawn with radius R / RATIO**(k - zoom), and fades out where it is largest or
smallest. As zoom rises, each doll grows, the outermost one fades out and a new one appears at the centre, without end.
Levels three apart are the same doll, which makes zoom periodic. Every class shows such dolls, but only two classes
zoom.

These do not depend on the class: shape, colours, textures, background, speed, a smooth random camera jitter and sensor
noise.

**Three more sets of classes.** `OTHER_MOTIONS` shift two coordinates at once, which also keeps the distribution
uniform. `SLOW_MOTIONS` are those of `CLASSES` at a sixth of their speed, so that from one frame to the next a shape
moves no more than the camera shakes, and a window of a few frames shows little of it. `PATTERNS` are the opposite: the
texture of dolls and background is the class, and the motion is random.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # float32 pictures with values from 0 to 1, or coordinates
Pattern = Callable[[int, np.random.Generator], Array]  # side S in pixels -> (S, S), the share of ink

# Label -> shift of (x, y, orientation, zoom) per frame, to be multiplied by the clip's speed.
# Image axes: x points right, y points down, so a positive angle is a clockwise turn for the viewer.
CLASSES: dict[str, tuple[int, int, int, int]] = {
    "growing": (0, 0, 0, 1),
    "moving down": (0, 1, 0, 0),
    "moving left": (-1, 0, 0, 0),
    "moving right": (1, 0, 0, 0),
    "moving up": (0, -1, 0, 0),
    "rotating anticlockwise": (0, 0, -1, 0),
    "rotating clockwise": (0, 0, 1, 0),
    "shrinking": (0, 0, 0, -1),
}

_HALF = math.sqrt(0.5)  # share of the speed in each of two coordinates
OTHER_MOTIONS: dict[str, tuple[float, float, float, float]] = {
    "growing anticlockwise": (0, 0, -_HALF, _HALF),
    "growing clockwise": (0, 0, _HALF, _HALF),
    "moving down left": (-_HALF, _HALF, 0, 0),
    "moving down right": (_HALF, _HALF, 0, 0),
    "moving up left": (-_HALF, -_HALF, 0, 0),
    "moving up right": (_HALF, -_HALF, 0, 0),
    "shrinking anticlockwise": (0, 0, -_HALF, -_HALF),
    "shrinking clockwise": (0, 0, _HALF, -_HALF),
}

SLOWER = 6
SLOW_MOTIONS = {f"{label} slowly": tuple(each / SLOWER for each in shift) for label, shift in CLASSES.items()}

REFERENCE_SIZE = 64  # px; the lengths below are for frames of this size and scale with the frame
SPEED = (0.9, 1.8)  # px per frame, uniform; of a moving shape, or at _ARM of the radius of a turning or zooming one
RADIUS = (25.0, 29.0)  # px, radius at which the outermost doll is invisible; it is opaque below RADIUS / RATIO**FADE
RATIO = 2.0  # ratio of the radii of a doll and of the next one inside
FADE = 0.4  # part of a level over which the outermost doll fades out
LEVELS = 3  # number of dolls of different colour and texture, after which they repeat
SMALLEST = 2.5  # px; dolls appear at this radius and are opaque at twice this radius
JITTER = 0.25  # px, standard deviation of the camera's offset
NOISE = 2.5  # standard deviation of the sensor's noise, in grey levels from 0 to 255

_ARM = 0.8  # distance from the centre, as a share of the radius, where a turning or zooming doll has the clip's speed
_REACH = 0.92  # radius of a doll's outline, as a share of half the side of its picture


@dataclass(frozen=True)
class Look:
    """Everything in a clip except its motion: three dolls with mip levels, a background, and the radius."""

    dolls: list[list[Array]]  # [level][mip]: (S, S, 4) premultiplied RGBA, 0 to 1
    background: Array  # (H, W, 3), wider than the frame by the camera's jitter
    radius: float  # px


def clip_frames(label: str, frames: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Draw a clip, frame by frame.

    Args:
        label: A name in `CLASSES`, `OTHER_MOTIONS`, `SLOW_MOTIONS` or `PATTERNS`. All random numbers are drawn before a
            motion is used, so two clips with equal `rng` and different motions share look, start, speed and noise.
        frames: Number of frames T.
        size: Height and width in pixels.
        rng: Source of all random numbers.

    Yields:
        T frames, (size, size, 3) uint8 RGB.
    """
    unit = size / REFERENCE_SIZE
    margin = math.ceil(4 * JITTER * unit) + 1
    look = random_look(size, margin, rng, PATTERNS.get(label))
    start = rng.uniform(0.0, (size, size, 2 * math.pi, LEVELS))
    speed = rng.uniform(*SPEED) * unit
    jitter = _jitter(frames, rng) * unit
    noise = rng.standard_normal((frames, size, size, 1), dtype=np.float32) * (NOISE / 255)
    arm = _ARM * look.radius
    moved = str(rng.choice(sorted(CLASSES))) if label in PATTERNS else label
    motion = {**CLASSES, **OTHER_MOTIONS, **SLOW_MOTIONS}[moved]
    shift = np.array(motion) * speed / (1.0, 1.0, arm, arm * math.log(RATIO))
    for t in range(frames):
        x, y, angle, zoom = start + t * shift
        picture = draw(look, x - jitter[t, 0], y - jitter[t, 1], angle, zoom, margin + jitter[t], size)
        yield np.clip((picture + noise[t]) * 255 + 0.5, 0, 255).astype(np.uint8)


def draw(look: Look, x: float, y: float, angle: float, zoom: float, window: Array, size: int) -> Array:
    """Draw one state: dolls around (x, y) modulo `size`, over a crop of the background.

    Args:
        look: Dolls, background and radius.
        x: Centre of the dolls in pixels, to the right.
        y: Centre of the dolls in pixels, downwards.
        angle: Orientation in radians.
        zoom: Zoom in levels.
        window: (x, y) of the crop's top left corner in the background, in pixels.
        size: Height and width of the frame in pixels.

    Returns:
        (size, size, 3) float32 RGB, 0 to 1.
    """
    centre = (float(window[0]) + (size - 1) / 2, float(window[1]) + (size - 1) / 2)
    picture = cv2.getRectSubPix(look.background, (size, size), centre)
    # Draw around the middle with the fractional part of the position, then roll by whole pixels, so that sides wrap.
    left, top = math.floor(x), math.floor(y)
    middle = size // 2
    picture = np.roll(picture, (middle - top, middle - left), (0, 1))
    first = math.ceil(zoom)  # the outermost doll: the largest radius that is at most look.radius
    for k in range(first, first + 8):
        radius = look.radius / RATIO ** (k - zoom)
        if radius <= SMALLEST * size / REFERENCE_SIZE:
            break
        opacity = _opacity(k - zoom, radius * REFERENCE_SIZE / size)
        if opacity > 0:
            _paste(picture, look.dolls[k % LEVELS], radius, angle, middle + x - left, middle + y - top, opacity)
    return np.roll(picture, (top - middle, left - middle), (0, 1))


def _opacity(level: float, radius: float) -> float:
    """Return the opacity of a doll, as two ramps: from 0 at level 0 to 1 at level `FADE`, and the same for the radius.

    The ramp of the radius rises from 0 at `SMALLEST` to 1 at twice `SMALLEST`, in pixels at `REFERENCE_SIZE`.
    """
    ramp = min(level / FADE, 1.0) * min(radius / SMALLEST - 1.0, 1.0)
    return max(ramp, 0.0)


def _paste(picture: Array, mips: list[Array], radius: float, angle: float, x: float, y: float, opacity: float) -> None:
    """Composite a doll with a radius (px) and angle (radians), centred at (x, y), over the picture, in place."""
    mip = min(max(int(math.log2(mips[0].shape[0] * _REACH / 2 / radius)), 0), len(mips) - 1)
    doll = mips[mip]
    scale = radius / (doll.shape[0] * _REACH / 2)
    reach = math.ceil(radius / _REACH)
    left, top = max(round(x) - reach, 0), max(round(y) - reach, 0)  # the part cut off is empty, since radius < size / 2
    right, bottom = min(round(x) + reach + 1, picture.shape[1]), min(round(y) + reach + 1, picture.shape[0])
    c, s = math.cos(angle) * scale, math.sin(angle) * scale
    m = (doll.shape[0] - 1) / 2
    matrix = np.array([[c, -s, x - left - c * m + s * m], [s, c, y - top - s * m - c * m]])
    rgba = cv2.warpAffine(doll, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    window = picture[top:bottom, left:right]
    window *= 1.0 - opacity * rgba[..., 3:]
    window += opacity * rgba[..., :3]


def random_look(size: int, margin: int, rng: np.random.Generator, pattern: Pattern | None = None) -> Look:
    """Draw shape, colours, textures and background at random.

    Dolls and background have the pattern if one is given; otherwise each doll has a random pattern, and the background
    has clouds.
    """
    palette = _palette(rng)
    outline = _SHAPES[rng.integers(len(_SHAPES))](rng)
    dolls = [_doll(2 * size, outline, fill, ink, pattern, rng) for fill, ink in palette[:LEVELS]]
    radius = float(rng.uniform(*RADIUS)) * size / REFERENCE_SIZE
    low, high = palette[LEVELS]
    side = size + 2 * margin
    share = (pattern(side, rng) if pattern else _clouds(side, rng))[..., None]
    return Look(dolls, np.ascontiguousarray(low * (1 - share) + high * share, dtype=np.float32), radius)


def _palette(rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """Draw (fill, ink) of each doll, then of the background; hues are spread, and fill and ink differ in lightness."""
    hue = rng.uniform() + rng.permutation(LEVELS + 1) / (LEVELS + 1) + rng.uniform(-0.06, 0.06, LEVELS + 1)
    light = np.append(rng.permutation([0.95, 0.8, 0.45]), rng.uniform(0.65, 0.8))
    calm = np.append(np.ones(LEVELS), 0.6)  # the background's colours are less saturated
    pairs = []
    for i in range(LEVELS + 1):
        fill = _colour(hue[i], calm[i] * rng.uniform(0.45, 0.8), light[i])
        ink_light = light[i] - 0.5 if light[i] > 0.6 else light[i] + 0.5
        ink = _colour(hue[i] + rng.uniform(-0.15, 0.15), calm[i] * rng.uniform(0.3, 0.9), ink_light)
        pairs.append((fill, ink))
    return pairs


def _colour(hue: float, saturation: float, value: float) -> Array:
    rgb = np.clip(np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return ((rgb * saturation + 1 - saturation) * value).astype(np.float32)


def _doll(
    side: int, outline: Array, fill: Array, ink: Array, pattern: Pattern | None, rng: np.random.Generator
) -> list[Array]:
    """Draw a doll, with averaged copies of half the side each (mip levels), so that small dolls do not flicker."""
    mask = np.zeros((side, side), np.uint8)
    points = (outline * _REACH + 1) * (side - 1) / 2
    cv2.fillPoly(mask, [np.round(points * 256).astype(np.int32)], 255, cv2.LINE_AA, shift=8)
    alpha = mask[..., None].astype(np.float32) / 255
    drawn = pattern or list(PATTERNS.values())[rng.integers(len(PATTERNS))]
    share = drawn(side, rng)[..., None]
    rgb = fill * (1 - share) + ink * share
    rim = np.zeros_like(mask)
    cv2.polylines(rim, [np.round(points * 256).astype(np.int32)], True, 255, round(0.035 * side), cv2.LINE_AA, shift=8)
    edge = rim[..., None].astype(np.float32) / 255
    rgb = rgb * (1 - edge) + (ink * 0.35) * edge
    mips = [np.concatenate([rgb * alpha, alpha], axis=-1).astype(np.float32)]
    while mips[-1].shape[0] > 10:
        half = mips[-1].shape[0] // 2
        mips.append(cv2.resize(mips[-1], (half, half), interpolation=cv2.INTER_AREA))
    return mips


def _clouds(side: int, rng: np.random.Generator) -> Array:
    """Draw three octaves of noise, (S, S) from 0 to 1."""
    octaves = [_smooth_noise(side, cells, rng) * weight for cells, weight in ((4, 1.0), (9, 0.7), (22, 0.5))]
    return _soft(np.sum(octaves, axis=0) * 0.15)


def _jitter(frames: int, rng: np.random.Generator) -> Array:
    """Draw the offsets of a hand-held camera: an autoregressive walk around zero, clipped to the margin, (T, 2) px."""
    walk = np.empty((frames, 2), np.float32)
    offset = rng.standard_normal(2)
    for t, kick in enumerate(rng.standard_normal((frames, 2))):
        walk[t] = offset
        offset = 0.8 * offset + 0.6 * kick  # 0.8^2 + 0.6^2 = 1, so the variance is the same at every t
    return np.clip(walk, -4, 4) * JITTER


# Outlines: (P, 2) points around (0, 0); the farthest point has distance 1 from it.


def _polar(radius: Callable[[Array], Array], points: int = 180) -> Array:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False, dtype=np.float32)
    r = radius(angle)
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1) / r.max()


def _polygon(rng: np.random.Generator) -> Array:
    n = int(rng.integers(3, 8))
    return _polar(lambda a: np.cos(np.pi / n) / np.cos(a % (2 * np.pi / n) - np.pi / n), points=60 * n)


def _star(rng: np.random.Generator) -> Array:
    n, inner = int(rng.integers(4, 8)), rng.uniform(0.5, 0.7)
    r = np.where(np.arange(2 * n) % 2, inner, 1.0)
    a = np.arange(2 * n) * np.pi / n
    return np.stack([r * np.cos(a), r * np.sin(a)], axis=-1)


def _ellipse(rng: np.random.Generator) -> Array:
    ratio = rng.uniform(0.55, 0.75)
    return _polar(lambda a: 1 / np.sqrt(np.cos(a) ** 2 + (np.sin(a) / ratio) ** 2))


def _blob(rng: np.random.Generator) -> Array:
    waves = [(k, rng.uniform(0.04, 0.14), rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5)]
    return _polar(lambda a: np.sum([1 / 4 + s * np.sin(k * a + p) for k, s, p in waves], axis=0))


def _flower(rng: np.random.Generator) -> Array:
    n, depth = int(rng.integers(4, 8)), rng.uniform(0.12, 0.22)
    return _polar(lambda a: 1 + depth * np.cos(n * a))


def _cross(rng: np.random.Generator) -> Array:
    w = rng.uniform(0.32, 0.45)
    p = np.array(
        [(1, -w), (1, w), (w, w), (w, 1), (-w, 1), (-w, w), (-1, w), (-1, -w), (-w, -w), (-w, -1), (w, -1), (w, -w)]
    )
    return p / math.hypot(1, w)


def _drop(rng: np.random.Generator) -> Array:
    power = rng.uniform(3, 6)
    return _polar(lambda a: 0.62 + 0.38 * np.maximum(0, np.cos(a)) ** power)


_SHAPES = (_polygon, _star, _ellipse, _blob, _flower, _cross, _drop)


# Patterns: (S, S) float32 from 0 to 1, the share of ink.


def _axes(side: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return coordinates from -1 to 1, rotated by a random angle, as two (S, S) arrays."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, side, dtype=np.float32)] * 2)
    a = rng.uniform(0, 2 * np.pi)
    return x * np.cos(a) + y * np.sin(a), y * np.cos(a) - x * np.sin(a)


def _soft(wave: Array) -> Array:
    return (0.5 + 0.5 * np.tanh(4 * wave)).astype(np.float32)


def _stripes(side: int, rng: np.random.Generator) -> Array:
    u, _ = _axes(side, rng)
    return _soft(np.sin(u * rng.uniform(8, 13) + rng.uniform(0, 6)))


def _checks(side: int, rng: np.random.Generator) -> Array:
    u, v = _axes(side, rng)
    f = rng.uniform(6, 10)
    return _soft(2 * np.sin(u * f + rng.uniform(0, 6)) * np.sin(v * f + rng.uniform(0, 6)))


def _dots(side: int, rng: np.random.Generator) -> Array:
    u, v = _axes(side, rng)
    f = rng.uniform(9, 13)
    return _soft(np.sin(u * f + rng.uniform(0, 6)) + np.sin(v * f + rng.uniform(0, 6)) - 0.6)


def _patches(side: int, rng: np.random.Generator) -> Array:
    return _soft(_smooth_noise(side, int(rng.integers(6, 10)), rng))


def _waves(side: int, rng: np.random.Generator) -> Array:
    u, v = _axes(side, rng)
    return _soft(np.sin(u * rng.uniform(8, 12) + 1.5 * np.sin(v * rng.uniform(4, 7) + rng.uniform(0, 6))))


PATTERNS: dict[str, Pattern] = {
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "patches": _patches,
    "waves": _waves,
}


def _smooth_noise(side: int, cells: int, rng: np.random.Generator) -> Array:
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
