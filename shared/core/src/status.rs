//! What a lake has done lately.
