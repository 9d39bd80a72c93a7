//! Which of two models stands on the left: a function of the study's secret, and of nothing that anybody
//! who is asked could know.
//!
//! Who is asked what, and in which order, is a function of the seed in the study's head, so that the file
//! alone says whose answers belong there. A side is written down with each answer, so that reading a
//! study takes no secret; showing it does.

use crate::{Place, Seat, Seats};

/// The part of a secret that sides rest on.
#[derive(Clone)]
pub struct Sides([u8; 32]);

impl Sides {
    pub(crate) fn of(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// Whether the second of a pair stands on the left.
    pub(crate) fn swapped(&self, seats: &Seats, seat: &Seat, place: &Place) -> bool {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in [&seat.name, &seats.study.units[place.unit].id] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&[place.round]);
        hasher.finalize().as_bytes()[0] & 1 == 1
    }

    /// The model on the left at a place.
    pub(crate) fn left(&self, seats: &Seats, seat: &Seat, place: &Place) -> Option<String> {
        let pair = seats.study.units[place.unit].pair.as_ref()?;
        Some(pair[usize::from(self.swapped(seats, seat, place))].clone())
    }
}
