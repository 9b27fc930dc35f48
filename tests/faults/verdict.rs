//! The end of a world: the broker once more, and everybody's verdict.

use crate::chance::Chance;
use crate::load::Load;
use crate::rig::Rig;

impl Rig {
    /// Starts the dead broker again, half the time after a power cut, and lets everybody come to an end. Returns what is wrong then.
    pub(crate) fn recover(&mut self, load: Load, chance: &mut Chance) -> Vec<String> {
        self.control.clear();
        if chance.percent(50) {
            self.cut(chance);
        }
        if let Err(said) = self.broker.try_start_again() {
            return vec![said];
        }
        load.recovered();
        self.settle(load)
    }

    /// Lets everybody come to an end, if nothing is wrong yet. Returns what is.
    pub(crate) fn settle(&self, load: Load) -> Vec<String> {
        let mut violations = load.violations();
        violations.extend(self.damage());
        if violations.is_empty() { load.settle(self.broker.address()) } else { violations }
    }
}
