"""Tests of one deployment that all of them share: a package, so that it ends with the last of them."""
