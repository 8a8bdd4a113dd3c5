//! After a grant that opened: whether the face is learnt, and the record of it. Off unless the config says otherwise.

use serde_json::json;

use crate::access::{Evidence, Lesson, NotLearnt, may_learn, presentable};
use crate::daemon::DaemonError;
use crate::daemon::analysis::Analysis;
use crate::gallery::{NewTemplate, TemplateSource};
use crate::journal::{EventId, Stamp};
use crate::store::StoreError;

use super::Control;

impl Control {
    /// The face by which `name` was let in, for which event `grant` stands, becomes a sample of theirs if it may. What cannot be
    /// stored is said and not learnt: the door has opened already.
    pub(super) fn learn(
        &mut self,
        analysis: &Analysis,
        name: &str,
        evidence: &Evidence,
        grant: EventId,
    ) -> Result<(), DaemonError> {
        let Some(options) = self.learning else { return Ok(()) };
        let Some(person) = evidence.best.as_ref().map(|best| best.person) else { return Ok(()) };
        let alone = analysis.faces.len() == 1;
        if let Err(why) = presentable(evidence, alone) {
            log::debug!("{name}'s face is not learnt: {why:?}");
            return Ok(());
        }
        let seen = analysis.faces.iter().find(|face| face.track == evidence.track);
        let Some((face, embedding)) = seen.and_then(|face| Some((face, face.embedding.as_ref()?))) else {
            return Ok(());
        };
        let known = match self.store.person(name) {
            Ok(known) if known.id == person => known,
            Ok(_) | Err(StoreError::UnknownPerson { .. }) => return Ok(()),
            Err(error) => return Err(DaemonError::Read(error)),
        };
        let model = &self.terms.model;
        let is_learnt =
            |t: &&crate::gallery::TemplateInfo| t.source == TemplateSource::Learnt && t.model == *model;
        let enrolled = self.store.enrolled_gallery(model).map_err(DaemonError::Read)?;
        let all = self.gallery.load_full();
        let lesson = Lesson {
            face: embedding,
            person,
            evidence,
            alone,
            learnt: known.templates.iter().filter(is_learnt).count(),
            enrolled: &enrolled,
            all: &all,
        };
        let agreement = match may_learn(&options, &lesson) {
            Ok(agreement) => agreement,
            Err(NotLearnt::Full | NotLearnt::Known) => return Ok(()),
            Err(why) => {
                log::debug!("{name}'s face is not learnt: {why:?}");
                return Ok(());
            }
        };
        let template = NewTemplate {
            model: model.clone(),
            embedding: embedding.clone(),
            quality: face.quality,
            source: TemplateSource::Learnt,
            crop: None,
        };
        let other = agreement.nearest_other.map(|score| score.0);
        let detail = json!({ "grant": grant, "score": agreement.enrolled.0, "nearest_other": other });
        match self.store.learn(name, &template, detail, Stamp::now(&*self.clock)) {
            Ok(()) => {
                log::info!("{name}'s face is learnt (from event {})", grant.0);
                self.people_changed()
            }
            Err(StoreError::BadTemplates(why)) => {
                log::warn!("{name}'s face is not learnt: {why}");
                Ok(())
            }
            Err(source) => Err(DaemonError::Write { what: "a learnt sample", source }),
        }
    }
}
