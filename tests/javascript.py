"""The page's scripts in an engine without a browser: formulas, data, scores, and the address."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any

from py_mini_racer import MiniRacer

from vhs.reports import page

WITHOUT_BROWSER = ("numbers", "scores", "data", "state")
DECODER = """
var TextDecoder = function () {};
TextDecoder.prototype.decode = function (bytes) {
  let text = ''; for (const byte of bytes) text += String.fromCharCode(byte); return text;
};
var URLSearchParams = function (text) {
  this.all = {};
  for (const part of (text || '').split('&')) {
    const [name, ...rest] = part.split('=');
    try { if (part) this.all[name] = decodeURIComponent(rest.join('=').replace(/\\+/g, ' ')); } catch { this.all[name] = rest.join('='); }
  }
};
URLSearchParams.prototype.set = function (name, value) { this.all[name] = value; };
URLSearchParams.prototype.has = function (name) { return name in this.all; };
URLSearchParams.prototype.get = function (name) { return this.all[name]; };
URLSearchParams.prototype.toString = function () {
  return Object.entries(this.all).map(([name, value]) => name + '=' + encodeURIComponent(value)).join('&');
};
var history = {replaceState: function () {}}; function draw() {}
"""


def block(html: str) -> bytes:
    """The numbers of a page, inflated."""
    text = re.search(r'<script type="text/plain" id="data">(.*?)</script>', html, re.S)
    assert text is not None
    return zlib.decompress(base64.b64decode(text[1]), -zlib.MAX_WBITS)


class Scripts:
    """The scripts, with the data of a page."""

    def __init__(self, html: str) -> None:
        self._engine = MiniRacer()
        self._engine.eval(DECODER)
        source = "\n".join(page.page_file(f"{name}.js") for name in WITHOUT_BROWSER).replace('"use strict";', "")
        self._engine.eval(source.replace("const page =", "var page ="))
        self._engine.eval(f"page.data = unpack(Uint8Array.from({list(block(html))}).buffer);")
        self._engine.eval(
            "page.conditions = everyCondition(page.data.runs); page.state = initial(); var data = page.data;"
        )

    def __call__(self, expression: str) -> Any:
        """The value of an expression; NaN is None."""
        return json.loads(self._engine.eval(f"JSON.stringify({expression})"))
