"""XML of other programs, read without document type definitions."""

from __future__ import annotations

from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ..core.errors import InputError


def parse_xml(text: str, where: str, what: str, *, comments: bool = False) -> Element:
    """Build the tree with the standard library's parser, stopped at a document type definition.

    Args:
        text: of the file.
        where: name of the file for messages.
        what: was expected, for messages, such as "a VOC file".
        comments: keep those within the root, as elements whose tag is no string.

    Raises:
        InputError: malformed XML, or a document type definition: nothing here needs one, and entities can blow up.
    """

    def refuse(*_: object) -> NoReturn:
        raise InputError(f"{where}: expected plain XML, got a document type definition (<!DOCTYPE …>); remove it")

    builder = TreeBuilder(insert_comments=comments)
    parser = expat.ParserCreate(encoding="utf-8")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    if comments:
        parser.CommentHandler = builder.comment
    try:
        # As bytes with a fixed encoding: what the text says about its own encoding was true of the file.
        parser.Parse(text.encode("utf-8"), True)
    except (expat.ExpatError, UnicodeEncodeError, ValueError) as error:
        raise InputError(f"{where}: expected {what}, which is XML: {error}") from error
    return builder.close()
