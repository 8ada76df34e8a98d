//! A lane: a task that owns one connection and answers what is asked of it, all that waits at a time. What requests wait
//! for goes this way: it never waits for a connection of the pool, many questions cost one statement, and a caller that
//! leaves does so beside the connection, not in the middle of a transaction.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use airouter_store::StoreError;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::connection::{Connector, Purpose, failed, is_locked, timed_out};

/// The first pause between two attempts to connect; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a connection may take to say good-bye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether a question may be asked again when nobody knows whether the first time took effect. One that surely did not
/// may always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Twice is the same as once: a lost connection is replaced, and the question asked again.
    Safe,
    /// Who asked decides.
    Unsafe,
}

/// What a lane does.
pub(crate) trait Work: Send + 'static {
    type Question: Send + Sync + 'static;
    type Answer: Send + 'static;

    const REPEAT: Repeat;

    /// The connection is a new one: behind it may be another state of the database.
    fn connected(&mut self) {}

    /// Answers all questions, in their order. Where it fails, it has changed nothing, or nobody knows (a lost connection).
    fn answer(
        &mut self,
        connection: &mut PgConnection,
        questions: &[Self::Question],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, StoreError>> + Send;
}

/// How much a lane takes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneSettings {
    /// Questions that wait.
    pub(crate) queue: usize,
    /// Questions that are answered together.
    pub(crate) together: usize,
    /// How long a question waits for its answer, and the lane for the database.
    pub(crate) patience: Duration,
    /// What its connection is for.
    pub(crate) purpose: Purpose,
}

/// Where questions are asked. The lane ends when this is dropped.
pub(crate) struct Lane<W: Work> {
    queue: mpsc::Sender<Waiting<W>>,
    patience: Duration,
}

struct Waiting<W: Work> {
    question: W::Question,
    deadline: Instant,
    answer: oneshot::Sender<Result<W::Answer, StoreError>>,
}

impl<W: Work> Lane<W> {
    /// Starts the lane as one of `tasks`; it connects when it is first asked.
    pub(crate) fn start(
        tasks: &mut JoinSet<()>,
        connector: &Connector,
        settings: LaneSettings,
        work: W,
    ) -> Self {
        Self::start_beside(tasks, connector, settings, work, None)
    }

    /// Starts a lane, and another one beside it, where a question for what is locked waits on, so that the others don't
    /// wait for it.
    pub(crate) fn start_two(
        tasks: &mut JoinSet<()>,
        connector: &Connector,
        (settings, aside): (LaneSettings, LaneSettings),
        work: fn() -> W,
    ) -> Self {
        let aside = Self::start(tasks, connector, aside, work());
        Self::start_beside(tasks, connector, settings, work(), Some(aside.queue))
    }

    fn start_beside(
        tasks: &mut JoinSet<()>,
        connector: &Connector,
        settings: LaneSettings,
        work: W,
        aside: Option<mpsc::Sender<Waiting<W>>>,
    ) -> Self {
        let (queue, questions) = mpsc::channel(settings.queue);
        let runner = Runner {
            work,
            connector: connector.clone(),
            purpose: settings.purpose,
            connection: None,
            patience: settings.patience,
            pause: FIRST_PAUSE,
            aside,
        };
        tasks.spawn(runner.run(questions, settings.together));
        Self {
            queue,
            patience: settings.patience,
        }
    }

    /// Asks. A question whose asker leaves before its turn is not answered; after that it takes effect all the same.
    pub(crate) async fn ask(&self, question: W::Question) -> Result<W::Answer, StoreError> {
        let deadline = Instant::now() + self.patience;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            question,
            deadline,
            answer,
        };
        let ask = async {
            self.queue.send(waiting).await.map_err(|_| ended())?;
            answered.await.map_err(|_| ended())?
        };
        timeout_at(deadline, ask)
            .await
            .map_err(|_| failed(timed_out()))?
    }
}

fn ended() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

struct Runner<W: Work> {
    work: W,
    connector: Connector,
    purpose: Purpose,
    connection: Option<PgConnection>,
    patience: Duration,
    pause: Duration,
    /// Where questions go for what is locked.
    aside: Option<mpsc::Sender<Waiting<W>>>,
}

impl<W: Work> Runner<W> {
    async fn run(mut self, mut queue: mpsc::Receiver<Waiting<W>>, together: usize) {
        let mut waiting = Vec::with_capacity(together);
        while queue.recv_many(&mut waiting, together).await > 0 {
            self.serve(&mut waiting).await;
            waiting.clear();
        }
        if let Some(connection) = self.connection {
            // The server notices by itself too.
            let _ = timeout(CLOSE_TIMEOUT, connection.close()).await;
        }
    }

    async fn serve(&mut self, waiting: &mut Vec<Waiting<W>>) {
        self.connect_for(waiting).await;
        waiting.retain(|one| !one.answer.is_closed());
        if waiting.is_empty() {
            return;
        }
        let (questions, askers): (Vec<_>, Vec<_>) = waiting
            .drain(..)
            .map(|one| (one.question, (one.deadline, one.answer)))
            .unzip();
        match self.answer_repeatedly(&questions).await {
            Ok(answers) => {
                for ((_, asker), answer) in askers.into_iter().zip(answers) {
                    // It may have left.
                    let _ = asker.send(Ok(answer));
                }
            }
            Err(error) if error.is_transient() && !is_locked(&error) => {
                tell(askers.into_iter().map(|(_, asker)| asker), error);
            }
            Err(error) => {
                let mut alone = (questions.len() == 1).then_some(error);
                for ((deadline, answer), question) in askers.into_iter().zip(questions) {
                    let one = Waiting {
                        question,
                        deadline,
                        answer,
                    };
                    self.serve_alone(one, alone.take()).await;
                }
            }
        }
    }

    /// One of several is to blame for an error: each stands for itself. `error` is its own, where it was asked alone
    /// already.
    async fn serve_alone(&mut self, one: Waiting<W>, error: Option<StoreError>) {
        let answer = match error {
            Some(error) => Err(error),
            None => {
                let question = std::slice::from_ref(&one.question);
                self.answer_repeatedly(question).await.and_then(only)
            }
        };
        match (answer, &self.aside) {
            (Err(error), Some(aside)) if is_locked(&error) => {
                // Where there is no room it is dropped, and its asker told that there is no answer.
                let _ = aside.try_send(one);
            }
            (answer, _) => {
                let _ = one.answer.send(answer);
            }
        }
    }

    /// Connects, as often as any of `waiting` can wait for; those who can't are told why.
    async fn connect_for(&mut self, waiting: &mut Vec<Waiting<W>>) {
        while self.connection.is_none() && !waiting.is_empty() {
            let error = match self.connect().await {
                Ok(connection) => {
                    self.connection = Some(connection);
                    return;
                }
                Err(error) => error,
            };
            let next = Instant::now() + self.pause;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            waiting.retain(|one| !one.answer.is_closed());
            let late = waiting.extract_if(.., |one| one.deadline <= next);
            tell(late.map(|one| one.answer), error);
            if !waiting.is_empty() {
                sleep_until(next).await;
            }
        }
    }

    async fn connect(&mut self) -> Result<PgConnection, StoreError> {
        let connection = self.connector.connect(self.purpose).await;
        let connection = connection.map_err(failed)?;
        self.pause = FIRST_PAUSE;
        self.work.connected();
        Ok(connection)
    }

    /// A connection that nobody used may have ended since: where it does no harm, a new one is tried too.
    async fn answer_repeatedly(
        &mut self,
        questions: &[W::Question],
    ) -> Result<Vec<W::Answer>, StoreError> {
        let begun = Instant::now();
        let first_time = self.answer(questions).await;
        let may_repeat = match &first_time {
            Err(error) if is_locked(error) => false,
            Err(StoreError::Unavailable(_)) => true,
            Err(StoreError::InDoubt(_)) => W::REPEAT == Repeat::Safe,
            _ => false,
        };
        if may_repeat && begun.elapsed() < self.patience {
            return self.answer(questions).await;
        }
        first_time
    }

    /// Answers within the time limit. A connection that failed is closed, whatever state it is in.
    async fn answer(&mut self, questions: &[W::Question]) -> Result<Vec<W::Answer>, StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let work = self.work.answer(&mut connection, questions);
        let answers = timeout(self.patience, work)
            .await
            .unwrap_or_else(|elapsed| Err(StoreError::InDoubt(Box::new(elapsed))));
        let is_sound = |error: &StoreError| !error.is_transient() || is_locked(error);
        if answers.as_ref().err().is_none_or(is_sound) {
            self.connection = Some(connection);
        }
        answers
    }
}

fn only<T>(answers: Vec<T>) -> Result<T, StoreError> {
    answers.into_iter().next().ok_or_else(ended)
}

/// Tells everyone of one error.
fn tell<T>(
    askers: impl IntoIterator<Item = oneshot::Sender<Result<T, StoreError>>>,
    error: StoreError,
) {
    let is_in_doubt = matches!(error, StoreError::InDoubt(_));
    let error = Arc::new(error);
    for asker in askers {
        let shared = Box::new(SharedError(Arc::clone(&error)));
        let _ = asker.send(Err(if is_in_doubt {
            StoreError::InDoubt(shared)
        } else {
            StoreError::Unavailable(shared)
        }));
    }
}

/// An error that several were told of.
#[derive(Debug)]
struct SharedError(Arc<StoreError>);

impl fmt::Display for SharedError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            StoreError::Unavailable(cause) | StoreError::InDoubt(cause) => cause.fmt(formatter),
            error => error.fmt(formatter),
        }
    }
}

impl std::error::Error for SharedError {}
