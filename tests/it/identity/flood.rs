//! Who sends wrong proofs by the ten thousand fills a memory of its own, and no more of it than there is.

use chunkgate::{
    auth::{
        meters::Judged,
        verdicts::{Proven, Refusal, Settled, Verdict, Verdicts},
    },
    domain::{
        UserId,
        principal::{Limits, User},
    },
};

use super::*;

/// How many refusals are remembered at most, and a few more than that.
const REFUSALS: usize = 20_000;
const FLOOD: usize = 21_000;

#[tokio::test]
async fn a_flood_of_wrong_proofs_is_bounded_and_pushes_out_no_right_one() {
    let verdicts = Verdicts::new(StillClock::at(NOW), Tasks::new(), Judged::Identity, Arc::default());
    let settle = async |name: &str, verdict: Verdict| {
        let (key, life) = (verdicts.key(&[name]), Some(60 * SECOND));
        verdicts.settle(key, key, async move { Settled { verdict, life } }).await
    };
    let user = User { id: UserId::new(), realm: "default".into(), username: "ann".into(), epoch: 0 };
    let proven = Verdict::Proven(Arc::new(Proven { user, limits: Limits::default(), as_of: 0 }));
    settle("right", proven.clone()).await;
    for number in 0..FLOOD {
        settle(&format!("wrong {number}"), Verdict::Refused(Refusal::Invalid)).await;
    }
    let mut kept = 0;
    for number in 0..FLOOD {
        kept += usize::from(verdicts.remembered(verdicts.key(&[&format!("wrong {number}")])).await.is_some());
    }
    assert!((REFUSALS / 2..=REFUSALS).contains(&kept), "{kept} refusals are remembered");
    assert_eq!(verdicts.remembered(verdicts.key(&["right"])).await, Some(proven));
}
