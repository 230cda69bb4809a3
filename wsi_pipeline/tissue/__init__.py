"""Where the tissue is: mask, artefacts, pieces and drawn regions."""
