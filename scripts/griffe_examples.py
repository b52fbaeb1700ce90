"""For the API pages: griffe reads the section "Examples:" as code; our docstrings call it "Example:"."""

import re
from typing import Any

import griffe


class ExampleSections(griffe.Extension):
    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
