//! Deliberate defects, compiled into unit tests only: the simulator must catch each of them.

/// `mutant!(Name)` is whether that defect is switched on for this thread: `false`, and gone, outside unit tests.
macro_rules! mutant {
    ($name:ident) => {{
        #[cfg(test)]
        let active = $crate::protocol::mutants::active($crate::protocol::mutants::Mutant::$name);
        #[cfg(not(test))]
        let active = false;
        active
    }};
}
pub(crate) use mutant;

#[cfg(test)]
pub(crate) use inner::*;

#[cfg(test)]
mod inner {
    use std::cell::Cell;

    /// One defect each.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Mutant {
        /// A packet seen before is taken again.
        ReplayOff,
        /// A message seen before is delivered again.
        DedupOff,
        /// A refused message is acknowledged all the same.
        AckBeforeDelivery,
        /// The retransmission timer never fires.
        TimerNeverFires,
        /// The memory of received messages is too short.
        DedupForgets,
        /// A completion is reported twice.
        CompletionTwice,
        /// A completion is lost when its packet times out.
        CompletionLost,
        /// An acknowledgement's bits are read one position off.
        AckBitsShifted,
        /// A fragment is stored under its neighbour's index.
        FragmentIndexOff,
        /// The last fragment is not resent.
        LastFragmentForgotten,
        /// The queue's bound is not enforced.
        QueueUnbounded,
        /// The end of a connection leaves its messages without an outcome.
        CloseForgets,
        /// A message resent gets a new number.
        ResendRenumbers,
        /// The reassembly's bound is not enforced.
        ReassemblyUnbounded,
        /// A best-effort message is resent after its end was reported.
        ExpiredLives,
        /// A packet goes out under the number of the one before.
        PacketNumberRepeats,
        /// New messages run on however old the oldest unacknowledged one is.
        NumberWindowOpen,
        /// More leaves than the window lets go.
        WindowIgnored,
        /// That the queue has room again is never told.
        WritableLost,
        /// An idle end says nothing.
        KeepAliveNever,
        /// A message in parts is never given up.
        PartialsForEver,
        /// The packet before the newest is acknowledged whether it came or not.
        AckUnseen,
        /// A full reassembly refuses the oldest message too.
        OldestRefused,
        /// A message in parts is given up though its sender stands still.
        PartialsImpatient,
        /// An end that has closed acknowledges messages that it drops.
        DrainAcks,
        /// An end leaves without a word.
        GoodbyeSilent,
        /// Acknowledgements wait for the next keep-alive.
        AckTooLate,
        /// Silence does not end a connection.
        TimeoutNever,
        /// A key is never changed.
        PhaseNever,
        /// An unsent sequenced message stays beside a newer one.
        SequencedKept,
        /// Acknowledgements are not asked for, however full the window is.
        WindowPatient,
        /// Ordered messages are held back without a bound.
        HeldUnbounded,
        /// A sequenced message is delivered after a newer one.
        SequencedStale,
        /// Ordered messages are delivered as they come.
        OrderIgnored,
        /// A peer's new address is never taken.
        PathNever,
        /// Anybody can end a connection with a reset.
        ResetUnchecked,
        /// Ordered messages are sent before those ahead of them.
        OrderedOvertake,
        /// Whoever is refused hears nothing.
        RefusedInSilence,
        /// What is refused again and again goes first for ever.
        TurnsNever,
        /// A promised message in parts is given up like any other.
        PromiseForgotten,
        /// The second range of an acknowledgement is read one packet off.
        AckRangeOff,
        /// A copy sent unasked rides in the packet of the original.
        EchoTwice,
        /// Nobody asks for an acknowledgement that does not come.
        ProbeNever,
        /// Messages live beyond their deadline.
        DeadlineIgnored,
        /// Any cookie is taken.
        CookieUnchecked,
        /// A peer's new address is taken without proof.
        PathUnproven,
        /// Challenges go to an address whatever came from there.
        CreditIgnored,
        /// A key is changed before the last change is known to have arrived.
        PhaseEarly,
        /// The key before the current one is thrown away at once.
        OldKeyForgotten,
        /// A larger datagram is taken for possible because it was tried.
        MtuUnproven,
        /// A client asks once to be let in.
        JoinOnce,
        /// That a path has narrowed is not noticed.
        NarrowPathUnseen,
    }

    impl Mutant {
        pub(crate) const ALL: [Mutant; 28] = [
            Mutant::ReplayOff,
            Mutant::DedupOff,
            Mutant::AckBeforeDelivery,
            Mutant::TimerNeverFires,
            Mutant::DedupForgets,
            Mutant::CompletionTwice,
            Mutant::CompletionLost,
            Mutant::AckBitsShifted,
            Mutant::FragmentIndexOff,
            Mutant::LastFragmentForgotten,
            Mutant::QueueUnbounded,
            Mutant::CloseForgets,
            Mutant::ResendRenumbers,
            Mutant::ReassemblyUnbounded,
            Mutant::ExpiredLives,
            Mutant::PacketNumberRepeats,
            Mutant::NumberWindowOpen,
            Mutant::WindowIgnored,
            Mutant::WritableLost,
            Mutant::KeepAliveNever,
            Mutant::PartialsForEver,
            Mutant::AckUnseen,
            Mutant::OldestRefused,
            Mutant::PartialsImpatient,
            Mutant::DrainAcks,
            Mutant::GoodbyeSilent,
            Mutant::AckTooLate,
            Mutant::TimeoutNever,
        ];

        /// What the simulator of the native wire must catch: what it shares with the other one, and its own. The rest of
        /// [`ALL`](Self::ALL) is beyond it: 16,384 pieces behind a lost one, acknowledgements after the end, which it has not,
        /// and impatience with what nobody promised.
        pub(crate) const NATIVE: [Mutant; 46] = [
            Mutant::ReplayOff,
            Mutant::DedupOff,
            Mutant::AckBeforeDelivery,
            Mutant::TimerNeverFires,
            Mutant::DedupForgets,
            Mutant::CompletionTwice,
            Mutant::CompletionLost,
            Mutant::AckBitsShifted,
            Mutant::FragmentIndexOff,
            Mutant::LastFragmentForgotten,
            Mutant::QueueUnbounded,
            Mutant::CloseForgets,
            Mutant::ResendRenumbers,
            Mutant::ReassemblyUnbounded,
            Mutant::ExpiredLives,
            Mutant::PacketNumberRepeats,
            Mutant::WindowIgnored,
            Mutant::WritableLost,
            Mutant::KeepAliveNever,
            Mutant::PartialsForEver,
            Mutant::AckUnseen,
            Mutant::OldestRefused,
            Mutant::GoodbyeSilent,
            Mutant::AckTooLate,
            Mutant::TimeoutNever,
            Mutant::PhaseNever,
            Mutant::SequencedKept,
            Mutant::SequencedStale,
            Mutant::OrderIgnored,
            Mutant::PathNever,
            Mutant::ResetUnchecked,
            Mutant::OrderedOvertake,
            Mutant::RefusedInSilence,
            Mutant::TurnsNever,
            Mutant::PromiseForgotten,
            Mutant::AckRangeOff,
            Mutant::EchoTwice,
            Mutant::ProbeNever,
            Mutant::DeadlineIgnored,
            Mutant::CookieUnchecked,
            Mutant::PathUnproven,
            Mutant::PhaseEarly,
            Mutant::OldKeyForgotten,
            Mutant::MtuUnproven,
            Mutant::JoinOnce,
            Mutant::NarrowPathUnseen,
        ];
    }

    thread_local!(static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) });

    pub(crate) fn active(mutant: Mutant) -> bool {
        ACTIVE.with(|a| a.get() == Some(mutant))
    }

    /// Runs `body` with one defect switched on for this thread.
    pub(crate) fn with<T>(mutant: Option<Mutant>, body: impl FnOnce() -> T) -> T {
        struct Reset(Option<Mutant>);
        impl Drop for Reset {
            fn drop(&mut self) {
                ACTIVE.with(|a| a.set(self.0));
            }
        }
        let _reset = Reset(ACTIVE.with(|a| a.replace(mutant)));
        body()
    }
}
