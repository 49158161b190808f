//! Rules of the repository, held as tests: see `tests/`.
