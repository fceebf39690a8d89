//! A bound on what one address may hold at once, so that no neighbour can take everything.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts the places each address holds.
pub struct Crowd {
    most: usize,
    here: Mutex<HashMap<IpAddr, usize>>,
}

/// One place in the crowd; given back when dropped.
pub struct Place {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Crowd {
    /// A crowd in which each address holds at most `most` places.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, here: Mutex::default() })
    }

    /// A place for `address`, or `None` when it holds its share already.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        let count = here.get(&address).copied().unwrap_or(0);
        if count >= self.most {
            return None;
        }
        here.insert(address, count + 1);
        Some(Place { crowd: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut here = self.crowd.here.lock().unwrap_or_else(PoisonError::into_inner);
        match here.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(here.remove(&self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_once_its_holder_left_and_costs_no_memory_then() {
        let crowd = Crowd::new(1);
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let held = crowd.enter(one);
        assert!(held.is_some() && crowd.enter(one).is_none());
        assert!(crowd.enter(two).is_some());
        drop(held);
        assert!(crowd.here.lock().unwrap().is_empty());
        assert!(crowd.enter(one).is_some());
    }
}
