"""Label files of other programs: pure codecs under thin file writing."""
