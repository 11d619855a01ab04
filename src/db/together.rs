//! Small changes that are made together: one transaction, and one commit, for all that wait.
//!
//! An engine with one writer makes a queue of its writers, and each of them waits for the disk in its turn. Here whoever
//! comes to the front of the queue makes the changes of all who wait behind, so that the disk is waited for once. Nobody is
//! answered before the commit, and one who fails fails alone: if a deed of a group has to be undone, the group is, and each
//! deed is made in a transaction of its own.
//!
//! Each statement is a way to the connection's thread and back, which costs more than what is done there. Deeds that need no
//! look at anything before they act are therefore made in one statement ([`group`]). That they all can be is what it hopes
//! for; if they cannot, nothing is lost but one way.
//!
//! What is deliberately not here: a task. Whoever waits leads, when it is its turn.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use sqlx::{Connection as _, Database, Pool, pool::PoolConnection};
use tokio::{
    sync::{
        Mutex as Turn, MutexGuard as TurnGuard,
        oneshot::{self, error::TryRecvError},
    },
    time::timeout,
};

use super::{
    StoreError,
    deed::{Deed, Done},
    dialect::{Dialect, PATIENCE},
    group,
    store::Store,
};

/// Most deeds of one transaction: whoever comes meanwhile waits for all of them.
const MOST: usize = 64;

type Answer = Result<Done, StoreError>;

/// A deed, and whom to tell what became of it.
struct Waiting {
    deed: Deed,
    answer: oneshot::Sender<Answer>,
}

/// Who waits, and the connection that the groups are made on.
pub(super) struct Together<DB: Database> {
    waiting: Mutex<Vec<Waiting>>,
    /// Kept from one group to the next: to give a connection back to its pool is one more way to its thread.
    turn: Turn<Option<PoolConnection<DB>>>,
    /// How many others want the connection.
    wanted: AtomicUsize,
}

impl<DB: Database> Default for Together<DB> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turn: Turn::new(None), wanted: AtomicUsize::new(0) }
    }
}

impl<DB: Dialect> Store<DB> {
    /// Makes a deed: with the others that wait, where the engine has one writer.
    pub(super) async fn make(&self, deed: Deed) -> Answer {
        match DB::ONE_WRITER {
            true => self.together.make(deed, &self.write).await,
            false => alone::<DB>(&deed, &mut *self.write.acquire().await?).await,
        }
    }
}

impl<DB: Dialect> Together<DB> {
    async fn make(&self, deed: Deed, pool: &Pool<DB>) -> Answer {
        let (answer, mut answered) = oneshot::channel();
        self.queue().push(Waiting { deed, answer });
        let mut turn = tokio::select! {
            biased;
            answer = &mut answered => return answer.unwrap_or_else(|_| Err(left())),
            turn = self.turn() => turn?,
        };
        loop {
            // Whoever leads has led others before itself where many wait.
            match answered.try_recv() {
                Ok(answer) => return answer,
                Err(TryRecvError::Closed) => return Err(left()),
                Err(TryRecvError::Empty) => self.lead(&mut turn, pool).await,
            }
        }
    }

    /// Makes the deeds of those who wait.
    async fn lead(&self, kept: &mut Option<PoolConnection<DB>>, pool: &Pool<DB>) {
        let acquired = match kept.take() {
            Some(connection) => Ok(connection),
            None => pool.acquire().await,
        };
        let mut connection = match acquired {
            Ok(connection) => connection,
            Err(error) => return answer(self.next(), std::iter::repeat(Err(error.into()))),
        };
        let is_sound = make_all::<DB>(self.next(), &mut connection).await;
        if !is_sound {
            // It may be anywhere in a transaction. The pool opens another one.
            connection.close_on_drop();
        } else if self.wanted.load(Ordering::SeqCst) == 0 {
            *kept = Some(connection);
        }
    }

    /// The turn to use the connection, waited for as patiently as for one of a pool.
    async fn turn(&self) -> Result<TurnGuard<'_, Option<PoolConnection<DB>>>, StoreError> {
        let late = |_| StoreError::Unavailable("the database is busy with the changes of others".into());
        timeout(PATIENCE, self.turn.lock()).await.map_err(late)
    }

    /// The deeds of the next group. Who no longer waits may have let go of what makes its deed right.
    fn next(&self) -> Vec<Waiting> {
        let mut queue = self.queue();
        queue.retain(|waiting| !waiting.answer.is_closed());
        let some = queue.len().min(MOST);
        queue.drain(..some).collect()
    }

    /// Has the connection given back to its pool, and kept there until `used` has it.
    pub(super) async fn without<T>(&self, used: impl Future<Output = T>) -> Result<T, StoreError> {
        let _wanted = Wanted::by_one_more(&self.wanted);
        drop(self.turn().await?.take());
        Ok(used.await)
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes every deed, at once if that can be. Whether nothing failed that could have to do with the connection.
async fn make_all<DB: Dialect>(group: Vec<Waiting>, on: &mut DB::Connection) -> bool {
    let (mut others, ready): (Vec<_>, Vec<_>) = group.into_iter().partition(|waiting| waiting.deed.within.is_some());
    match at_once::<DB>(&ready, on).await {
        Ok(true) => answer(ready, std::iter::repeat(Ok(Done::Made))),
        Ok(false) => others.extend(ready),
        Err(error) => {
            others.extend(ready);
            answer(others, std::iter::repeat(Err(error)));
            return false;
        }
    }
    make_each::<DB>(others, on).await
}

/// One statement for all. `false`: one of them cannot be made, or there is only one statement, and nothing changed.
///
/// # Errors
/// Whether anything changed is not known.
async fn at_once<DB: Dialect>(group: &[Waiting], on: &mut DB::Connection) -> Result<bool, StoreError> {
    let mut steps = Vec::with_capacity(2 * group.len());
    for Waiting { deed, .. } in group {
        match deed.steps() {
            Ok(some) => steps.extend(some),
            Err(_) => return Ok(false),
        }
    }
    match steps.len() {
        0 | 1 => Ok(false),
        _ => group::make::<DB>(&steps, on).await,
    }
}

/// Makes one deed after the other, in one transaction if that can be. Says what [`make_all`] says.
async fn make_each<DB: Dialect>(mut group: Vec<Waiting>, on: &mut DB::Connection) -> bool {
    group = match group.len() {
        0 | 1 => group,
        _ => match together::<DB>(&group, on).await {
            Ok(None) => group,
            Ok(Some(answers)) => {
                answer(group, answers.into_iter().map(Ok));
                return true;
            }
            Err(error) => {
                answer(group, std::iter::repeat(Err(error)));
                return false;
            }
        },
    };
    let mut is_sound = true;
    for Waiting { deed, answer } in group {
        let made = alone::<DB>(&deed, on).await;
        is_sound &= matches!(made, Ok(_) | Err(StoreError::Conflict));
        // Whoever left meanwhile is not told.
        let _ = answer.send(made);
    }
    is_sound
}

fn answer(group: Vec<Waiting>, answers: impl Iterator<Item = Answer>) {
    for (waiting, answer) in group.into_iter().zip(answers) {
        let _ = waiting.answer.send(answer);
    }
}

/// One transaction for all. `None`: one of them would have to be undone, and nothing changed.
///
/// # Errors
/// It could not begin, or the commit failed, or the undoing: whether anything changed is not known.
async fn together<DB: Dialect>(group: &[Waiting], on: &mut DB::Connection) -> Result<Option<Vec<Done>>, StoreError> {
    let mut tx = on.begin_with(DB::BEGIN).await?;
    let mut done = Vec::with_capacity(group.len());
    for Waiting { deed, .. } in group {
        match deed.make(&mut tx).await {
            // What is not made changed nothing, but for what it spent.
            Ok(outcome) if outcome == Done::Made || deed.spend.is_none() => done.push(outcome),
            // Not one after the other in a transaction that is still open: nobody would commit it.
            undone => match tx.rollback().await {
                Ok(()) => return Ok(None),
                Err(_) => return Err(undone.err().unwrap_or_else(left)),
            },
        }
    }
    tx.commit().await?;
    Ok(Some(done))
}

/// One deed, in a transaction of its own.
async fn alone<DB: Dialect>(deed: &Deed, on: &mut DB::Connection) -> Answer {
    if deed.is_plain() {
        let is_made = deed.step()?.make::<DB>(on).await?;
        return Ok(if is_made { Done::Made } else { Done::Elsewhere });
    }
    let mut tx = on.begin_with(DB::BEGIN).await?;
    let outcome = deed.make(&mut tx).await?;
    if outcome == Done::Made {
        tx.commit().await?;
    }
    Ok(outcome)
}

/// Whoever led left before the end. What became of the deed is not known.
fn left() -> StoreError {
    StoreError::Unavailable("the transaction was not ended".into())
}

/// One more who wants the connection, until dropped.
struct Wanted<'a>(&'a AtomicUsize);

impl<'a> Wanted<'a> {
    fn by_one_more(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
