//! What the two nodes have in common: constants, the simulator, and how events become signals.

/// Gives a node class what both have: `node!(class, field: what runs)`. The field is an `Option` of a
/// [`crate::running::Running`]. The class has the properties `autostart`, `simulate_receive` and `simulate_send`, the signal
/// `updated`, a method `start`, `tell` and `tell_broken`, which emit the signals of its own, and `generation`, which counts
/// starts and stops so that who is in the middle of something sees that it ended meanwhile.
macro_rules! node {
    ($class:ident, $running:ident: $end:ty) => {
        #[godot_api(secondary)]
        impl $class {
            /// Sent once: arrives at most once.
            #[constant]
            const UNRELIABLE: i64 = 0;
            /// Sent again until it arrived or is a second old: at most once.
            #[constant]
            const BEST_EFFORT: i64 = 1;
            /// Sent once; a newer message of its channel drops it, also before it is sent. For states of which only the newest
            /// counts.
            #[constant]
            const SEQUENCED: i64 = 2;
            /// Exactly once, in order per channel.
            #[constant]
            const ORDERED: i64 = 3;
            /// Exactly once, in any order.
            #[constant]
            const GUARANTEED: i64 = -1;

            /// Direction of [method simulate]: what this end receives.
            #[constant]
            const RECEIVE: i64 = 0;
            /// Direction of [method simulate]: what this end sends.
            #[constant]
            const SEND: i64 = 1;

            /// Whether it was started, and neither stopped nor broke.
            #[func]
            fn is_running(&self) -> bool {
                self.$running.is_some()
            }

            /// Lets all datagrams of one direction ([constant RECEIVE] or [constant SEND]) pass a bad network from now on;
            /// [code]null[/code] ends it.
            #[func]
            fn simulate(&self, direction: i64, conditions: Option<Gd<GamekeeperConditions>>) -> Error {
                let Some(running) = &self.$running else { return Error::ERR_UNCONFIGURED };
                let Some(direction) = convert::direction(direction) else {
                    return Error::ERR_INVALID_PARAMETER;
                };
                apply(conditions.as_ref(), |conditions| Runs::simulate(&**running, direction, conditions))
            }

            /// What the bad network of a direction did so far, by name; empty where there is none.
            #[func]
            fn get_link_stats(&self, direction: i64) -> VarDictionary {
                let direction = convert::direction(direction);
                let running = self.$running.as_ref();
                let stats = running.zip(direction).and_then(|(one, way)| Runs::link_stats(&**one, way));
                convert::link_stats(stats)
            }
        }

        impl $class {
            /// Starts what `open` makes of the properties.
            fn begin(&mut self, open: impl FnOnce(&Self) -> Result<$end, (Error, String)>) -> Error {
                if self.$running.is_some() {
                    godot_error!("gamekeeper: the {} runs already", stringify!($running));
                    return Error::ERR_ALREADY_IN_USE;
                }
                let running = match open(self) {
                    Ok(running) => Running::new(running),
                    Err((error, text)) => {
                        godot_error!("gamekeeper: no {}: {text}", stringify!($running));
                        return error;
                    }
                };
                for (direction, network) in
                    [(Direction::Receive, &self.simulate_receive), (Direction::Send, &self.simulate_send)]
                {
                    let applied = apply(network.as_ref(), |conditions| {
                        Runs::simulate(&*running, direction, conditions)
                    });
                    if applied != Error::OK {
                        return applied;
                    }
                }
                self.generation += 1;
                self.$running = Some(running);
                Error::OK
            }

            /// Ends what runs, if something does.
            fn end(&mut self) {
                self.generation += 1;
                self.$running = None;
            }
        }

        #[godot_api]
        impl INode for $class {
            fn enter_tree(&mut self) {
                if self.autostart && self.$running.is_none() {
                    // What is wrong is reported.
                    let _ = self.start();
                }
            }

            fn process(&mut self, _delta: f64) {
                let generation = self.generation;
                let mut ticks = None;
                for _ in 0..BATCHES_PER_FRAME {
                    let Some(running) = &self.$running else { return };
                    let events = match Runs::next_events(&**running, EVENTS_PER_BATCH) {
                        Ok(events) => events,
                        Err(error) => {
                            convert::report(concat!("the ", stringify!($running), " broke"), &error);
                            self.end();
                            return self.tell_broken(&error.to_string());
                        }
                    };
                    if events.is_empty() {
                        break;
                    }
                    for event in events {
                        if let Some((seconds, tick)) = <$end as Runs>::tick(&event) {
                            let before = ticks.map_or(0.0, |(before, _)| before);
                            ticks = Some((before + seconds, tick));
                            continue;
                        }
                        self.tell(event);
                        if self.generation != generation {
                            return;
                        }
                    }
                }
                if let Some((seconds, tick)) = ticks {
                    self.signals().updated().emit(seconds, tick.cast_signed());
                }
            }

            fn exit_tree(&mut self) {
                self.end();
            }
        }
    };
}

pub(crate) use node;
