//! The same input, through to the database.

use rollcall::sim::{Endpoint, Fault};

use crate::{
    hostile::{corpus, mutation, properties::page::among_others},
    receive::Post,
    world::World,
};

/// The inputs of a target, and so many mutations of them.
fn inputs(target: &str, begins_with: &[u8], mutations: u64) -> Vec<Vec<u8>> {
    let corpus = corpus(target).into_iter().map(|(_, input)| input);
    let mut inputs: Vec<Vec<u8>> =
        corpus.filter_map(|input| input.strip_prefix(begins_with).map(<[u8]>::to_vec)).collect();
    let mutated = {
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        (0..mutations).map(|seed| mutation::mutate(&inputs, seed)).collect::<Vec<_>>()
    };
    inputs.extend(mutated);
    inputs
}

#[tokio::test]
async fn whatever_a_proven_sender_writes_is_committed_or_refused_for_good() {
    let world = World::new().await;
    let bodies = inputs("webhook", b"", 60).into_iter().filter_map(|body| String::from_utf8(body).ok());
    for (number, body) in bodies.enumerate() {
        let status = Post::signed(&world, &format!("msg_{number}"), &body).status(&world).await;
        assert!([204, 400, 413].contains(&status), "{status}: asked for again and again: {}", body.escape_debug());
    }
    assert_ne!(world.query("select count(*) from deliveries").await, "0");
    assert_eq!(world.query("select count(*) from deliveries where length(topic) > 100").await, "0");
    world.finish().await;
}

#[tokio::test]
async fn whatever_stands_in_a_page_its_neighbours_are_mirrored_and_the_calendar_goes_on() {
    let world = World::new().await;
    let calendar = world.calendar("ada@acme.test").await;
    for item in inputs("answer", b"item\n", 60) {
        let Some((item, body)) = among_others(&item) else { continue };
        world.sim.fail_next(Endpoint::ListEvents, Fault::Body { status: 200, body: body.clone() }, 1);
        world.request_full_sync(calendar).await;
        world.take_turns_until(Endpoint::ListEvents).await;
        let [mirrored, waiting] = [
            "select count(*) from events where id::text like '7c1f5a0e-2d6b-4f0c-9f0a-6c0d8d5b1e0_'",
            "select count(*) from reconcile_queue where kind = 'calendar'",
        ];
        assert_eq!((world.query(mirrored).await, world.query(waiting).await), ("2".into(), "0".into()), "{item}");
        for table in ["reconcile_queue", "events", "unreadable_events"] {
            world.execute(&format!("delete from {table}")).await;
        }
    }
    world.finish().await;
}
