"""One file for a reviewer: how it is packed, what is taken out of it, how it is signed, and how it is checked."""
