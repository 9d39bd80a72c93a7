//! The fuzz targets hold for their seeds, and for each seed cut short or with a byte changed.

#[expect(unreachable_pub, reason = "it is a crate of its own as well")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

#[test]
fn every_target_holds_for_its_seeds_and_their_neighbours() {
    for (name, target, seeds) in targets::SEEDS {
        for seed in *seeds {
            target(seed);
            let step = seed.len().div_ceil(40).max(1);
            for at in (0..seed.len()).step_by(step) {
                target(&seed[..at]);
                let mut other = seed.to_vec();
                other[at] ^= 0x55;
                target(&other);
            }
        }
        assert!(!seeds.is_empty(), "`{name}` has no seeds");
    }
}
