//! The waiting room before the identity server: who sits, who waits, who is next, and who has to go. Pure: no clock, no
//! lock, no task; `line` has those.
//!
//! Whoever floods the room crowds out himself. Networks take turns, however many of each wait; in a network those go first
//! who were called active of late, and every now and then one who was not. If the room is full, the last of the most
//! crowded queue goes, unless the newcomer would wait in one as crowded. A part of the seats is for regulars: strangers at
//! a slow server cannot hold all of them.
//!
//! Promises: never more than [`SEATS`] sit and [`WAITING`] wait; nobody waits for a seat that stands empty and may be his;
//! who neither leaves nor is displaced gets a seat.

use std::{collections::VecDeque, net::IpAddr};

/// Seats: questions under way at most.
pub(super) const SEATS: usize = 64;
/// Questions that wait for their turn at most.
pub(super) const WAITING: usize = 256;
/// Seats that strangers may hold at one time.
const FOR_STRANGERS: usize = SEATS - SEATS / 4;
/// So many regulars go before a stranger of their network, and so many crowd the room as one stranger does.
const FAVOUR: usize = 4;

/// From where a question comes; `None` is a network too: nobody told.
pub(super) type Network = Option<IpAddr>;

/// Whether somebody was called active of late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Regular,
    Stranger,
}

/// Who wants to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asker {
    pub(super) network: Network,
    pub(super) class: Class,
}

/// Names somebody who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    asker: Asker,
    number: u64,
}

/// See the module. `T` is what is handed back when somebody's turn has come, or when somebody has to go.
pub(super) struct Room<T> {
    /// Regulars and strangers who sit.
    seated: [usize; 2],
    /// In the order of their turns; of each network somebody waits.
    parties: VecDeque<Party<T>>,
    waiting: usize,
    last_number: u64,
}

/// Those of one network who wait.
struct Party<T> {
    network: Network,
    /// Regulars and strangers, in the order they came.
    queues: [VecDeque<(u64, T)>; 2],
    /// How many regulars went before the first of the strangers.
    passed_over: usize,
}

impl<T> Default for Room<T> {
    fn default() -> Self {
        Self { seated: [0; 2], parties: VecDeque::new(), waiting: 0, last_number: 0 }
    }
}

impl<T> Room<T> {
    /// Takes a seat at once, if one is free.
    pub(super) fn sit(&mut self, class: Class) -> bool {
        let free = self.has_seat_for(class);
        self.seated[class as usize] += usize::from(free);
        free
    }

    /// Begins to wait. With the ticket comes who has to go for it.
    ///
    /// # Errors
    /// The newcomer, if nobody is there who should rather go.
    pub(super) fn wait(&mut self, asker: Asker, newcomer: T) -> Result<(Ticket, Option<T>), T> {
        let mut displaced = None;
        if self.waiting == WAITING {
            displaced = self.displace(self.crowd_around(asker));
            if displaced.is_none() {
                return Err(newcomer);
            }
        }
        self.last_number += 1;
        let number = self.last_number;
        let at = self.parties.iter().position(|party| party.network == asker.network).unwrap_or_else(|| {
            self.parties.push_back(Party::of(asker.network));
            self.parties.len() - 1
        });
        self.parties[at].queue(asker.class).push_back((number, newcomer));
        self.waiting += 1;
        Ok((Ticket { asker, number }, displaced))
    }

    /// Leaves a seat. Answers with who has it now, or another that became free with it.
    pub(super) fn leave(&mut self, class: Class) -> Option<(Class, T)> {
        self.seated[class as usize] -= 1;
        let strangers_may = self.has_seat_for(Class::Stranger);
        let at = self.parties.iter().position(|party| party.next_class(strangers_may).is_some())?;
        let mut party = self.parties.remove(at)?;
        let (class, next) = party.next(strangers_may)?;
        // Its next turn comes after all others'.
        if !party.is_empty() {
            self.parties.push_back(party);
        }
        self.waiting -= 1;
        self.seated[class as usize] += 1;
        Some((class, next))
    }

    /// Waits no longer, if it still does.
    pub(super) fn give_up(&mut self, ticket: Ticket) {
        let Some(at) = self.parties.iter().position(|party| party.network == ticket.asker.network) else { return };
        let queue = self.parties[at].queue(ticket.asker.class);
        let Some(place) = queue.iter().position(|(number, _)| *number == ticket.number) else { return };
        queue.remove(place);
        self.one_less_of(at);
    }

    fn has_seat_for(&self, class: Class) -> bool {
        let [regulars, strangers] = self.seated;
        regulars + strangers < SEATS && (class == Class::Regular || strangers < FOR_STRANGERS)
    }

    /// How crowded it would be where the newcomer would wait.
    fn crowd_around(&self, asker: Asker) -> usize {
        let party = self.parties.iter().find(|party| party.network == asker.network);
        let there = party.map_or(0, |party| party.queues[asker.class as usize].len());
        (there + 1) * asker.class.weight()
    }

    /// Sends the last of the most crowded queue away, if it is more crowded than that.
    fn displace(&mut self, crowd: usize) -> Option<T> {
        let queues = self.parties.iter().enumerate().flat_map(|(at, party)| {
            [Class::Regular, Class::Stranger]
                .map(|class| (party.queues[class as usize].len() * class.weight(), at, class))
        });
        let (most, at, class) = queues.max_by_key(|(crowd, ..)| *crowd)?;
        if most <= crowd {
            return None;
        }
        let (_, last) = self.parties[at].queue(class).pop_back()?;
        self.one_less_of(at);
        Some(last)
    }

    fn one_less_of(&mut self, at: usize) {
        self.waiting -= 1;
        if self.parties[at].is_empty() {
            self.parties.remove(at);
        }
    }
}

impl Class {
    fn weight(self) -> usize {
        match self {
            Self::Regular => 1,
            Self::Stranger => FAVOUR,
        }
    }
}

impl<T> Party<T> {
    fn of(network: Network) -> Self {
        Self { network, queues: [VecDeque::new(), VecDeque::new()], passed_over: 0 }
    }

    fn queue(&mut self, class: Class) -> &mut VecDeque<(u64, T)> {
        &mut self.queues[class as usize]
    }

    fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }

    fn next_class(&self, strangers_may: bool) -> Option<Class> {
        let [regulars, strangers] = &self.queues;
        match (regulars.is_empty(), strangers_may && !strangers.is_empty()) {
            (false, true) if self.passed_over >= FAVOUR => Some(Class::Stranger),
            (false, _) => Some(Class::Regular),
            (true, true) => Some(Class::Stranger),
            (true, false) => None,
        }
    }

    fn next(&mut self, strangers_may: bool) -> Option<(Class, T)> {
        let class = self.next_class(strangers_may)?;
        let passes_over = class == Class::Regular && !self.queues[Class::Stranger as usize].is_empty();
        self.passed_over = if passes_over { self.passed_over + 1 } else { 0 };
        let (_, next) = self.queue(class).pop_front()?;
        Some((class, next))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{
        Class::{Regular, Stranger},
        *,
    };

    fn from(network: u8, class: Class) -> Asker {
        Asker { network: Some([10, 0, 0, network].into()), class }
    }

    /// Every seat is taken, by as many strangers as may.
    fn full<T>() -> Room<T> {
        let mut room = Room::default();
        while room.sit(Stranger) {}
        while room.sit(Regular) {}
        room
    }

    fn come<T>(room: &mut Room<T>, asker: Asker, newcomer: T) {
        assert!(matches!(room.wait(asker, newcomer), Ok((_, None))));
    }

    #[test]
    fn strangers_leave_a_quarter_of_the_seats() {
        let mut room = Room::<()>::default();
        let strangers = (0..100).filter(|_| room.sit(Stranger)).count();
        let regulars = (0..100).filter(|_| room.sit(Regular)).count();
        assert_eq!((strangers, regulars), (48, 16));
        come(&mut room, from(1, Stranger), ());
        assert_eq!(room.leave(Regular), None, "a regular's seat is not for strangers while they have theirs");
        assert!(room.sit(Regular), "and regulars need not wait behind them");
    }

    #[test]
    fn networks_take_turns() {
        let mut room = full();
        (0..100).for_each(|_| come(&mut room, from(1, Stranger), 1));
        (0..3).for_each(|_| come(&mut room, from(2, Stranger), 2));
        come(&mut room, from(3, Stranger), 3);
        let turns: Vec<i32> = (0..8).filter_map(|_| room.leave(Stranger)).map(|(_, network)| network).collect();
        assert_eq!(turns, [1, 2, 3, 1, 2, 1, 2, 1]);
    }

    #[test]
    fn in_a_network_regulars_go_first_and_strangers_now_and_then() {
        let mut room = full();
        (0..100).for_each(|_| come(&mut room, from(1, Stranger), Stranger));
        (0..10).for_each(|_| come(&mut room, from(1, Regular), Regular));
        let turns: Vec<bool> =
            (0..13).filter_map(|_| room.leave(Stranger)).map(|(_, class)| class == Stranger).collect();
        let strangers: Vec<usize> = turns.iter().enumerate().filter(|(_, is)| **is).map(|(at, _)| at).collect();
        assert_eq!(strangers, [4, 9, 12]);
    }

    #[test]
    fn in_a_full_room_the_last_of_the_greatest_crowd_goes() {
        let mut room = full();
        (0..WAITING).for_each(|number| come(&mut room, from(1, Stranger), number));
        assert_eq!(room.wait(from(1, Stranger), 1000), Err(1000), "it belongs to the crowd");
        assert!(matches!(room.wait(from(2, Stranger), 1001), Ok((_, Some(255)))));
        assert!(matches!(room.wait(from(1, Regular), 1002), Ok((_, Some(254)))), "a neighbour who is known");
        assert_eq!(room.leave(Stranger), Some((Regular, 1002)));
        assert_eq!(room.leave(Stranger), Some((Stranger, 1001)));
        assert_eq!(room.leave(Stranger), Some((Stranger, 0)));
    }

    #[test]
    fn one_of_each_of_many_networks_is_a_crowd_for_regulars_only() {
        let mut room = full();
        for number in 0..WAITING {
            come(&mut room, Asker { network: Some((number as u32).to_be_bytes().into()), class: Stranger }, number);
        }
        assert_eq!(room.wait(from(1, Stranger), 1000), Err(1000));
        for number in 1001..1004 {
            assert!(matches!(room.wait(from(1, Regular), number), Ok((_, Some(_)))));
        }
        assert_eq!(room.wait(from(1, Regular), 1004), Err(1004), "four regulars are as many as a stranger");
    }

    #[test]
    fn regulars_who_flood_crowd_out_themselves() {
        let mut room = full();
        (0..WAITING).for_each(|number| come(&mut room, from(1, Regular), number));
        assert!(matches!(room.wait(from(2, Stranger), 1000), Ok((_, Some(255)))));
        assert_eq!(room.wait(from(1, Regular), 1001), Err(1001), "they do not push the stranger out again");
        assert_eq!((0..4).filter_map(|_| room.leave(Stranger)).count(), 4);
        assert!(room.parties.iter().all(|party| party.network != from(2, Stranger).network), "it had its turn");
    }

    /// What may happen.
    #[derive(Debug, Clone)]
    enum Deed {
        Come(u8, Class, u8),
        Leave(Class, u8),
        GiveUp(usize),
    }

    fn deeds() -> impl Strategy<Value = Vec<Deed>> {
        let class = || prop_oneof![Just(Regular), Just(Stranger)];
        let deed = prop_oneof![
            3 => (0u8..6, class(), 1u8..120).prop_map(|(network, class, many)| Deed::Come(network, class, many)),
            2 => (class(), 1u8..60).prop_map(|(class, many)| Deed::Leave(class, many)),
            1 => any::<usize>().prop_map(Deed::GiveUp),
        ];
        proptest::collection::vec(deed, 1..40)
    }

    /// A room, and where everybody is who came.
    #[derive(Default)]
    struct Watched {
        room: Room<u64>,
        waiting: BTreeMap<u64, Ticket>,
        came: u64,
    }

    impl Watched {
        fn come(&mut self, asker: Asker) {
            self.came += 1;
            if self.room.sit(asker.class) {
                return;
            }
            if let Ok((ticket, displaced)) = self.room.wait(asker, self.came) {
                self.waiting.insert(self.came, ticket);
                displaced.map(|who| self.waiting.remove(&who).expect("waited"));
            }
        }

        fn leave(&mut self, class: Class) {
            if self.room.seated[class as usize] > 0
                && let Some((class, who)) = self.room.leave(class)
            {
                let ticket = self.waiting.remove(&who).expect("waited, and was not called twice");
                assert_eq!(ticket.asker.class, class);
            }
        }

        fn give_up(&mut self, at: usize) {
            let Some(who) = self.waiting.keys().nth(at % self.waiting.len().max(1)).copied() else { return };
            let ticket = self.waiting.remove(&who).expect("waits");
            self.room.give_up(ticket);
            self.room.give_up(ticket);
        }

        fn check(&self) {
            let Room { seated: [regulars, strangers], parties, waiting, .. } = &self.room;
            assert!(regulars + strangers <= SEATS && *strangers <= FOR_STRANGERS);
            assert!(*waiting <= WAITING && *waiting == self.waiting.len());
            assert_eq!(
                parties.iter().map(|party| party.queues[0].len() + party.queues[1].len()).sum::<usize>(),
                *waiting
            );
            assert!(parties.iter().all(|party| !party.is_empty()), "what is remembered is who waits");
            for class in [Regular, Stranger] {
                let waits = self.waiting.values().any(|ticket| ticket.asker.class == class);
                assert!(!waits || !self.room.has_seat_for(class), "a seat stands empty");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_it_is_bounded_and_everybody_gets_a_turn(deeds in deeds()) {
            let mut watched = Watched::default();
            for deed in deeds {
                match deed {
                    Deed::Come(network, class, many) => (0..many).for_each(|_| watched.come(from(network, class))),
                    Deed::Leave(class, many) => (0..many).for_each(|_| watched.leave(class)),
                    Deed::GiveUp(at) => watched.give_up(at),
                }
                watched.check();
            }
            for _ in 0..WAITING + SEATS {
                [Regular, Stranger].into_iter().for_each(|class| watched.leave(class));
                watched.check();
            }
            prop_assert!(watched.waiting.is_empty());
            prop_assert_eq!(watched.room.seated, [0, 0]);
        }

        /// Whoever comes alone is soon next, however many others come meanwhile.
        #[test]
        fn a_crowd_holds_nobody_else_up(crowd in proptest::collection::vec((0u8..3, 1u8..20), 1..60), class in prop_oneof![Just(Regular), Just(Stranger)]) {
            let mut room = full();
            (0..WAITING).for_each(|_| come(&mut room, from((crowd[0].0) % 3, Stranger), false));
            prop_assert!(room.wait(from(9, class), true).is_ok());
            let mut turns = 0;
            for (network, many) in crowd.iter().cycle() {
                for _ in 0..*many {
                    let displaced = room.wait(from(*network, Stranger), false);
                    prop_assert!(!matches!(displaced, Ok((_, Some(true)))));
                }
                turns += 1;
                if matches!(room.leave(Stranger), Some((_, true))) {
                    break;
                }
                prop_assert!(turns <= 4);
            }
        }
    }
}
