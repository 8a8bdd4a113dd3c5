//! Which door a judgement is about: its name, which way it leads, and into which area.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which way people go whom a door's camera sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Into the area.
    #[default]
    In,
    /// Out of it.
    Out,
}

impl FromStr for Side {
    type Err = SideError;
    fn from_str(text: &str) -> Result<Self, SideError> {
        match text {
            "in" => Ok(Self::In),
            "out" => Ok(Self::Out),
            _ => Err(SideError { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "in",
            Self::Out => "out",
        })
    }
}

/// A word that is no side of a door.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no side of a door; it is \"in\" or \"out\"")]
pub struct SideError {
    text: String,
}

/// A door as the rules see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub door: String,
    /// Which way it leads.
    pub side: Side,
    /// Into or out of which area.
    pub area: String,
    /// Whether doors lead both into and out of that area: only then can be told who is inside.
    pub both_ways: bool,
}

impl Place {
    /// Doors by name, side and area, in their order.
    pub fn all(doors: impl IntoIterator<Item = (String, Side, String)>) -> Vec<Self> {
        let doors: Vec<_> = doors.into_iter().collect();
        let leads = |side: Side, into: &str| doors.iter().any(|(_, s, area)| *s == side && area == into);
        let place = |(door, side, area): &(String, Side, String)| Self {
            door: door.clone(),
            side: *side,
            area: area.clone(),
            both_ways: leads(Side::In, area) && leads(Side::Out, area),
        };
        doors.iter().map(place).collect()
    }

    /// Whether it is called so; upper and lower case are one.
    pub fn is_called(&self, name: &str) -> bool {
        same_name(&self.door, name)
    }
}

/// Whether two names are of one door.
pub fn same_name(a: &str, b: &str) -> bool {
    a.trim().to_lowercase() == b.trim().to_lowercase()
}

/// A door that was not named clearly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhichDoor {
    /// None was named, and there are several.
    #[error("there are several doors: {doors}; say which with --door NAME")]
    Several {
        /// All of them.
        doors: String,
    },
    /// None is called so.
    #[error("no door is called {name:?}; there {}: {doors}", if doors.contains(", ") { "are" } else { "is" })]
    Unknown {
        /// The name.
        name: String,
        /// All there are.
        doors: String,
    },
}

/// The place in `doors` of the one that is called `wanted`, or of the only one where none is named.
///
/// # Errors
/// When it is not there, or none is named and there are several.
pub fn which_door(doors: &[&str], wanted: Option<&str>) -> Result<usize, WhichDoor> {
    let all = || doors.join(", ");
    match wanted {
        None if doors.len() == 1 => Ok(0),
        None => Err(WhichDoor::Several { doors: all() }),
        Some(name) => {
            let found = doors.iter().position(|door| same_name(door, name));
            found.ok_or_else(|| WhichDoor::Unknown { name: name.to_owned(), doors: all() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_named_where_there_are_several() {
        assert_eq!(which_door(&["door"], None), Ok(0));
        assert_eq!(which_door(&["entry", "Exit"], Some("exit")), Ok(1));
        let error = which_door(&["entry", "exit"], None).unwrap_err().to_string();
        assert_eq!(error, "there are several doors: entry, exit; say which with --door NAME");
        let error = which_door(&["entry", "exit"], Some("gate")).unwrap_err().to_string();
        assert_eq!(error, "no door is called \"gate\"; there are: entry, exit");
        let error = which_door(&["door"], Some("gate")).unwrap_err().to_string();
        assert_eq!(error, "no door is called \"gate\"; there is: door");
    }

    #[test]
    fn who_is_inside_can_be_told_where_doors_lead_both_ways() {
        let doors = [("a", Side::In, "house"), ("b", Side::Out, "house"), ("c", Side::In, "lab")];
        let places = Place::all(doors.map(|(door, side, area)| (door.to_owned(), side, area.to_owned())));
        assert_eq!(places.iter().map(|place| place.both_ways).collect::<Vec<_>>(), [true, true, false]);
        assert!(places[0].is_called(" A "));
    }
}
