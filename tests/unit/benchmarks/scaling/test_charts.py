"""The chart of the simulation is plotted from a study."""

from PIL import Image

from benchmarks.scaling.simulation.charts import write_chart
from benchmarks.scaling.simulation.study import DispatcherUse, Point


def test_a_study_becomes_a_png_that_differs_with_its_points(tmp_path):
    pixels = []
    for name, latency in (("fast", 2.0), ("slow", 20.0)):
        points = [Point(1, load, latency / 2, latency, latency) for load in (0.5, 0.9)]
        uses = [DispatcherUse(engines, 16.0, engines / 1000) for engines in (16, 64)]
        write_chart(tmp_path / f"{name}.png", points, uses)
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.format == "PNG"
            assert image.width > image.height > 300
            pixels.append(image.tobytes())
    assert pixels[0] != pixels[1]
