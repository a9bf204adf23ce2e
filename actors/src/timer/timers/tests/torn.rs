//! Units of the timer log of which a loss of power leaves a part: their messages are taken in again.

use super::*;

/// The twentieth unit of the timer log lies across two sectors, of which the second one is lost with the
/// size of its message.
fn lose_half_of_the_twentieth_unit(world: &mut World) {
    assert_eq!(world.queue.max_offset().0, 20);
    let disk = world.disk.crash_keeping(|_, sector| sector < 1024);
    world.reopen(disk);
}

#[test]
fn a_recall_whose_unit_a_crash_left_in_part_is_taken_in_again() {
    let mut world = World::new();
    for _ in 0..19 {
        world.send(BEGIN + 5000);
    }
    world.deliver();
    world.flush();
    world.recall(7, false);
    world.settle();
    lose_half_of_the_twentieth_unit(&mut world);
    world.pass(5000);
    assert_eq!(world.sent.iter().map(|sent| sent.delivered).sum::<usize>(), 18);
}

#[test]
fn a_timer_whose_unit_a_crash_left_in_part_names_all_of_its_message() {
    let mut world = World::new();
    for _ in 0..19 {
        world.send(BEGIN + 5000);
    }
    world.deliver();
    world.flush();
    world.send(BEGIN + 100);
    world.settle();
    lose_half_of_the_twentieth_unit(&mut world);
    world.settle();
    let item = world.timers.pop_due(BEGIN + 100).unwrap();
    let record = world.store.log().record_at(PhysicalOffset(item.offset)).unwrap();
    assert_eq!(item.size as usize, record.len());
}
