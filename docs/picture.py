"""Takes the picture of a report that README and the front page show.

python docs/picture.py runs/digits/report.html
"""

import io
import os
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

SIZE = {"width": 1400, "height": 1330}
TO = Path(__file__).parent / "images" / "report.png"

with sync_playwright() as driver:
    chromium = os.environ.get("GANTLET_CHROMIUM", "/usr/bin/chromium")
    browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    page = browser.new_page(viewport=SIZE)
    page.goto(Path(sys.argv[1]).resolve().as_uri())
    taken = page.screenshot()
    browser.close()
# 64 colours are all that text and rules need.
picture = Image.open(io.BytesIO(taken)).convert("RGB").quantize(64)
picture.save(TO, optimize=True)
print(f"{TO}: {TO.stat().st_size / 1000:.0f} kB")
