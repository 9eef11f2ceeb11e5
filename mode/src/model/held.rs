//! What of a model this process holds, where others hold the rest.

use mode_tensor::Device;

/// What of a model a process opens: of the rest it has shapes alone.
#[derive(Clone, Copy)]
pub(crate) struct Held<'a> {
    /// The backbone.
    pub(crate) backbone: bool,
    /// An expert of this name.
    pub(crate) expert: &'a dyn Fn(&str) -> bool,
}

impl Held<'_> {
    /// All of it.
    pub(crate) const ALL: Held<'static> = Held { backbone: true, expert: &|_| true };

    /// Where the backbone is put.
    pub(crate) fn backbone_on(&self, device: &Device) -> Device {
        if self.backbone { device.clone() } else { Device::dry() }
    }
}
