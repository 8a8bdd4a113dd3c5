//! What the web console asks besides: what the threshold is worth, the picture of now, and enrolment from a picture. All
//! of it is worked out beside the socket's thread.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::timeout;

use crate::daemon::protocol::{Reply, Request};
use crate::daemon::{figures, studio};
use crate::encoder::Score;
use crate::gallery::NewTemplate;
use crate::policy::same_name;

use super::Eye;
use super::connection::Client;

/// How long the networks may take for a picture, and for those that wait before it.
const STUDY_PATIENCE: Duration = Duration::from_secs(20);

impl Client {
    /// Beside this thread: it takes a while with many people. Two who ask at once may both have it worked out.
    pub(super) async fn figures(&self) -> Reply {
        let gallery = self.desk.gallery.load_full();
        let kept = self.desk.figures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((generation, figures)) = kept
            && generation == gallery.generation()
        {
            return Reply::Figures(figures);
        }
        let (terms, generation) = (self.desk.terms.clone(), gallery.generation());
        let worked_out = tokio::task::spawn_blocking(move || figures::figures(&terms, &gallery)).await;
        let Ok(figures) = worked_out else {
            return Reply::Error { message: "the figures could not be worked out".into() };
        };
        let figures = Box::new(figures);
        *self.desk.figures.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((generation, figures.clone()));
        Reply::Figures(figures)
    }

    pub(super) async fn picture(&self, door: Option<&str>) -> Reply {
        if !self.desk.console.live_picture {
            let message =
                "the live picture is off; console.live_picture = \"on\" in the config switches it on";
            return Reply::Error { message: message.into() };
        }
        let desk = &self.desk;
        let threshold = desk.board.status(desk.clock.now()).threshold;
        let called = |eye: &&Eye| door.is_none_or(|door| same_name(&eye.door, door));
        let Some(eye) = desk.eyes.iter().find(called) else {
            return Reply::Error { message: format!("there is no door {:?}", door.unwrap_or_default()) };
        };
        match eye.view.picture(&*desk.clock, Score(threshold)).await {
            Ok(picture) => Reply::Picture(Box::new(picture)),
            Err(message) => Reply::Error { message },
        }
    }

    /// Reads the picture beside this thread, has the networks look at it, and enrols what they make of it.
    pub(super) async fn enrol_picture(&self, name: String, picture: String, more: bool) -> Reply {
        match self.study(picture).await {
            Ok(template) => self.change(Request::Enrol { name, templates: vec![template], more }).await,
            Err(message) => Reply::Error { message },
        }
    }

    async fn study(&self, picture: String) -> Result<NewTemplate, String> {
        let read = tokio::task::spawn_blocking(move || studio::read(&picture)).await;
        let image = read.map_err(|_| "the picture could not be read".to_owned())??;
        let studied = self.desk.studio.leave(image)?;
        // Whichever door's networks are free first take it.
        self.desk.eyes.iter().for_each(|eye| eye.frames.nudge());
        let gone = || "the camera's recording is over, and the networks with it".to_owned();
        let mut halted = self.desk.halt.subscribe();
        tokio::select! {
            studied = timeout(STUDY_PATIENCE, studied) => {
                studied.map_err(|_| "the networks are too busy; try again".to_owned())?.map_err(|_| gone())?
            }
            _ = halted.wait_for(|halted| *halted) => Err("the daemon is stopping".into()),
        }
    }
}
