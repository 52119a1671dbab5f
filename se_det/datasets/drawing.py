"""Draw scenes of textured shapes on a textured background, with the mask of every shape."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

SHAPES = ('ring', 'square', 'triangle', 'cross')
TEXTURES = ('solid', 'striped', 'checkered')
CATEGORIES = tuple(f'{texture} {shape}' for shape in SHAPES for texture in TEXTURES)

CANVAS_SIZES = ((144, 144), (128, 160), (160, 128))  # height, width in pixels
SHAPES_A_SCENE = (1, 4)
SIDE = (28, 128)  # pixels, log-uniform: includes COCO's small, medium and large objects
MAX_TILT = np.pi / 18
MIN_VISIBLE = 0.8  # of a shape's area; a new shape that would hide more is moved
PLACEMENTS_TRIED = 20


@dataclass
class Instance:
    """A drawn shape: its category index and the mask ``(H, W)`` of the pixels that show it."""

    category: int
    mask: np.ndarray


def draw_scene(rng: Generator) -> tuple[np.ndarray, list[Instance]]:
    """Draw one scene.

    Args:
        rng: random generator; generators in equal states draw equal scenes.

    Returns:
        The image ``(H, W, 3)`` uint8 in BGR, and its shapes from back to front.
    """
    height, width = CANVAS_SIZES[rng.integers(len(CANVAS_SIZES))]
    image = _draw_ground(rng, height, width)
    instances, whole_areas = [], []
    for _ in range(rng.integers(SHAPES_A_SCENE[0], SHAPES_A_SCENE[1] + 1)):
        category = int(rng.integers(len(CATEGORIES)))
        shape, texture = divmod(category, len(TEXTURES))
        for _ in range(PLACEMENTS_TRIED):
            side = np.exp(rng.uniform(*np.log(SIDE)))
            centre = rng.uniform(side / 2, (height - side / 2, width - side / 2))
            u, v = _shape_axes(height, width, centre, side, rng.uniform(-MAX_TILT, MAX_TILT))
            mask = _inside(SHAPES[shape], u, v)
            visible = [instance.mask & ~mask for instance in instances]
            if all(
                mask_left.sum() >= MIN_VISIBLE * area
                for mask_left, area in zip(visible, whole_areas, strict=True)
            ):
                break
        else:
            continue
        for instance, mask_left in zip(instances, visible, strict=True):
            instance.mask = mask_left
        instances.append(Instance(category, mask))
        whole_areas.append(mask.sum())
        image[mask] = _texture(rng, TEXTURES[texture], u * side / 2, v * side / 2, side)[mask]
    noise = rng.normal(0, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), instances


def _draw_ground(rng: Generator, height: int, width: int) -> np.ndarray:
    """A background of smooth colours with coarse noise, ``(H, W, 3)`` float."""
    blotches = rng.uniform(80, 175, (5, 5, 3))
    grain = rng.normal(0, 12, (height // 3, width // 3, 1))
    smooth = cv2.resize(blotches, (width, height), interpolation=cv2.INTER_CUBIC)
    return smooth + cv2.resize(grain, (width, height))[..., None]


def _shape_axes(height, width, centre, side, tilt) -> tuple[np.ndarray, np.ndarray]:
    """Horizontal and vertical coordinates of a shape, ``(H, W)`` each, -1 to 1 over its side."""
    y, x = np.mgrid[:height, :width] + 0.5
    y, x = y - centre[0], x - centre[1]
    u = x * np.cos(tilt) + y * np.sin(tilt)
    v = y * np.cos(tilt) - x * np.sin(tilt)
    return 2 * u / side, 2 * v / side


def _inside(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    if shape == 'ring':
        return (u**2 + v**2 <= 1) & (u**2 + v**2 >= 0.2)
    across, down = np.abs(u), np.abs(v)
    if shape == 'square':
        return np.maximum(across, down) <= 0.85
    if shape == 'triangle':
        return (across <= (v + 1) / 2) & (v <= 0.9)
    return (np.minimum(across, down) <= 0.3) & (np.maximum(across, down) <= 0.95)


def _texture(rng: Generator, texture: str, u, v, side) -> np.ndarray:
    """Colours ``(H, W, 3)``: one, or two in stripes or checks."""
    light, dark = rng.uniform(170, 255, 3), rng.uniform(0, 85, 3)
    if texture == 'solid':
        return np.broadcast_to(light if rng.random() < 0.5 else dark, (*u.shape, 3))
    band = max(8.0, side / rng.uniform(4, 6))
    turn = rng.uniform(0, np.pi)
    along, across = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    stripe = np.floor(along / band).astype(int)
    if texture == 'checkered':
        stripe += np.floor(across / band).astype(int)
    return np.where(stripe[..., None] % 2 == 0, light, dark)
