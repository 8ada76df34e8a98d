//! Limits on the rate of calls.

mod support;

use airouter_store::clients::Role;
use support::World;

#[tokio::test]
async fn too_many_calls_are_refused_for_a_while() {
    let world = World::new().await;
    let ann = world.somebody(Role::Client).await;
    let bob = world.somebody(Role::Client).await;
    let (ann, bob) = (world.token(&ann).await, world.token(&bob).await);
    let me = async |token: &str| world.call(token, "GET", "/v1/auth/me", None).await;
    for _ in 0..600 {
        assert_eq!(me(&ann).await.status, 200);
    }
    let refused = me(&ann).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (429, "too_many_calls")
    );
    assert_eq!(refused.headers["retry-after"].to_str().unwrap(), "1");
    assert_eq!(me(&bob).await.status, 200);
    world.pass(1);
    assert_eq!(me(&ann).await.status, 200);
}

#[tokio::test]
async fn what_needs_no_login_is_counted_by_address() {
    let world = World::new().await;
    let document = async || world.send("GET", "/openapi.json", &[], None).await.status;
    for _ in 0..600 {
        assert_eq!(document().await, 200);
    }
    assert_eq!(document().await, 429);
    world.pass(1);
    assert_eq!(document().await, 200);
}
