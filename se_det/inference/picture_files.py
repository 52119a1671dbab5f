"""Draw detections into images, and write these as pictures and videos."""

from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from se_det.errors import UsageError
from se_det.inference.detections import Detections
from se_det.inference.inputs import InputFile, video_facts

FONT = Path(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')
GOLDEN_ANGLE = 137.508  # degrees between the hues of neighbouring labels


def draw(image: np.ndarray, found: Detections) -> np.ndarray:
    """Draw boxes, names and scores, and masks if there are any; the highest score on top.

    Args:
        image: (H, W, 3) in BGR, or (H, W); values that are not uint8 are stretched to these.
        found: its detections.

    Returns:
        A new image, (H, W, 3) uint8 in BGR.
    """
    if image.dtype != np.uint8:
        image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    image = image.reshape(*image.shape[:2], -1)[..., :3]
    pixels = np.broadcast_to(image, (*image.shape[:2], 3))[..., ::-1].copy()
    lowest_first = range(len(found))[::-1]
    colours = [colour(label) for label in found.labels.tolist()]
    if found.masks is not None:
        for index in lowest_first:
            mask = found.masks[index]
            pixels[mask] = pixels[mask] // 2 + np.array(colours[index], np.uint8) // 2
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    size = max(10, round(min(picture.size) / 32))
    font = ImageFont.truetype(FONT, size)
    # Pillow refuses a box whose right or bottom edge comes before the other.
    boxes = np.clip(found.boxes, 0, np.tile(picture.size, 2) - 1).round().astype(int).tolist()
    for index in lowest_first:
        left, top, right, bottom = boxes[index]
        box = left, top, max(left, right), max(top, bottom)
        pen.rectangle(box, outline=colours[index], width=max(1, size // 6))
        text = f' {found.names[index]} {found.scores[index]:.2f} '
        above = left, max(0, top - font.getbbox(text, anchor='la')[3])
        pen.rectangle(pen.textbbox(above, text, font), fill=colours[index])
        pen.text(above, text, 'white', font)
    return np.asarray(picture)[..., ::-1]


@cache
def colour(label: int) -> tuple[int, int, int]:
    """The colour of a class, in RGB."""
    hsv = np.uint8([[[label * GOLDEN_ANGLE % 360 / 2, 200, 190]]])
    return tuple(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].tolist())


class PictureFiles:
    """Pictures of detections in a folder, under the names of their images and videos.

    ``.jpg`` or ``.mp4`` is added to a name with another ending.

    Args:
        folder: where to write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._video: cv2.VideoWriter | None = None
        self._video_file: InputFile | None = None

    def add(self, file: InputFile, image: np.ndarray, found: Detections) -> None:
        """Write an image, or the next frame of a video, with its detections.

        Raises:
            UsageError: the picture cannot be written.
        """
        picture = draw(image, found)
        ending = '.mp4' if file.is_video else '.jpg'
        name = file.name if file.name.endswith(ending) else file.name + ending
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if file.is_video:
                self._add_frame(file, path, picture)
            else:
                path.write_bytes(cv2.imencode('.jpg', picture)[1])
        except OSError as error:
            raise UsageError(f'{path} cannot be written: {error.strerror}.') from error

    def _add_frame(self, file: InputFile, path: Path, picture: np.ndarray) -> None:
        if self._video_file != file:
            self.close()
            rate, _ = video_facts(file.path)
            size = picture.shape[1::-1]
            codec = cv2.VideoWriter.fourcc(*'mp4v')
            self._video, self._video_file = cv2.VideoWriter(str(path), codec, rate, size), file
            if not self._video.isOpened():
                raise UsageError(f'{path} cannot be written as a video. Add --no-pictures.')
        self._video.write(np.ascontiguousarray(picture))

    def close(self) -> None:
        """End the video that was begun."""
        if self._video is not None:
            self._video.release()
        self._video = self._video_file = None
