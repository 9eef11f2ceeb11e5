//! Calls to the owners of a model's experts (`mode expert serve`).

use super::peers::Calls;
use crate::Error;
use crate::mesh::net::{Line, Peer, connect};
use crate::mesh::{ExpertClient, Hello};
use crate::model::Model;

/// Gives experts that are elsewhere their ways there.
pub(super) fn reach(model: &mut Model, calls: &Calls) -> Result<(), Error> {
    for called in calls.called("expert", &model.expert_names())? {
        let expert = &mut model.experts[called.number];
        let name = format!("expert '{}'", expert.info.name);
        let owner = format!("{name} at {}", called.address);
        let hello = Hello::of_expert(&expert.info, &model.backbone.config);
        let names = vec!["the caller".into(), owner.clone()];
        let setting = calls.own.setting(calls.own.identity()?, hello, names, vec![0]);
        let peer = Peer { name, address: called.address, certificate: called.certificate, devices: vec![1] };
        let line = Line::new(connect(&[peer], setting)?)?;
        expert.reach(ExpertClient::new(owner, Box::new(line)));
    }
    Ok(())
}
