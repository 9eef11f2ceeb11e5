//! What a device on either side has no say in: it is refused, and who sent it is named.

use super::private_training::OWNERS;
use super::{LENGTH, WINDOWS, model};
use crate::Error;
use crate::mesh::processes::{Follower, FollowerEvent, Order};
use crate::mesh::run::{ParamState, Sharding};
use crate::mesh::transport::{Transport, local};
use crate::mesh::{Connected, Here, Layout, Places, Problem};
use crate::model::Gate;
use mode_autograd::{AdamW, AdamWSettings};
use mode_tensor::Device;
use std::sync::Arc;
use std::time::Duration;

/// A device's whole parameter, all of one number.
fn state(param: &mode_autograd::Param, number: f32) -> ParamState {
    let [value, m, v] = [number, 0.0, 0.0].map(|number| vec![number; param.value().len()]);
    ParamState { name: param.name().into(), shape: param.value().shape().to_vec(), value, m, v }
}

#[test]
fn nobody_gives_or_gets_what_another_mesh_trains() {
    let model = model(false);
    let problem = Problem::new(&model, WINDOWS, LENGTH).expect("a problem");
    let sharding = Sharding::new(&model, &Layout::named("1+2", 1).expect("a layout"), &problem);
    let gates = model.gates.iter().flat_map(Gate::params).collect::<Vec<_>>();
    let first = [gates[0], model.experts[0].params().next().expect("a parameter")];
    let optimizer = AdamW::new(first, AdamWSettings::default()).expect("parameters");
    for (param, device) in [(first[0], OWNERS[0]), (first[1], 0)] {
        let before = param.value().to_vec().expect("numbers");
        let own = [(0, vec![state(first[0], 0.5)]), (OWNERS[0], vec![state(first[1], 0.5)])];
        let strange = (device, vec![state(param, 777.0)]);
        let given = own.into_iter().chain([strange.clone()]).collect();
        for error in [sharding.collect(given, &optimizer), sharding.fill(&mut [strange], &optimizer)] {
            let error = error.expect_err("another mesh's").to_string();
            let says = format!("has sent {}, which is another mesh's to train", param.name());
            assert!(error.starts_with(&format!("device {device} of mesh")) && error.contains(&says), "{error}");
        }
        assert!(!param.value().to_vec().expect("numbers").contains(&777.0) && !before.contains(&777.0));
    }
}

/// What the owner's process says of orders, where the run has no steps, and nothing else is sent but gates of this number.
fn ordered(orders: &[Order], gate: f32) -> Result<FollowerEvent, Error> {
    let layout = Layout::named("1+2", 1).expect("a layout");
    let mut ends = local(layout.device_names(), None, Duration::from_secs(20)).into_iter();
    let mut main = ends.next().expect("an end");
    let here = ends.zip(OWNERS).map(|(way, number)| Here { number, device: Device::cpu(), transport: Box::new(way) });
    let model = model(false);
    let problem = Problem::new(&model, WINDOWS, LENGTH).expect("a problem");
    let connected = Connected { layout, here: here.collect(), others: Vec::new(), threads: 1 };
    let places = Places::new(connected, problem).expect("places");
    let mut follower = Follower::new(places, AdamWSettings::default(), &model, &[0], 0).expect("devices");
    let mut event = None;
    for order in orders {
        main.send(OWNERS[0], order.message())?;
        let table = r#"[{"name":"gate","shape":[1]}]"#.bytes().map(f32::from).collect();
        main.send(OWNERS[0], Arc::new(table))?;
        main.send(OWNERS[0], Arc::new(vec![gate; 3]))?;
        event = Some(follower.next()?);
    }
    event.ok_or_else(|| Error::Setting("nothing was ordered".into()))
}

#[test]
fn an_owner_saves_and_ends_where_the_run_has_got_to() {
    assert!(matches!(ordered(&[Order::Give(Some(0))], 0.0), Ok(FollowerEvent::Save(0))));
    assert!(matches!(ordered(&[Order::Finish], 0.5), Ok(FollowerEvent::Finish(gates)) if gates[0].2 == [0.5]));
    let says = "device 0 of mesh 'backbone' ";
    for (orders, gate, what) in [
        (&[Order::Give(Some(7))][..], 0.0, "orders a checkpoint of step 7 after 0 steps here"),
        (&[Order::Finish, Order::Finish], 0.0, "orders the run's end after 0 steps here"),
        (&[Order::Finish], f32::NAN, "sends numbers that are none for gate"),
    ] {
        let error = ordered(orders, gate).map(drop).expect_err(what).to_string();
        assert!(error.starts_with(&format!("{says}{what}")), "{error}");
    }
}
