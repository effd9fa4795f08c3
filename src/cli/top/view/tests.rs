//! The view, drawn on a page of text.
