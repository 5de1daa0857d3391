"""What all lists have in common."""

from typing import Annotated

from pydantic import StringConstraints

from signalbox_common.contracts.base import Text

Cursor = Annotated[Text, StringConstraints(max_length=200)]
Search = Annotated[Text, StringConstraints(max_length=200)]
